"""The numbers of FlexTok's autoencoders under the names of their golden cases."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.quantizers.gaussian import divergence
from tokzoo.tokenizers.flextok_vae.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    images = (case.image() + 1) / 2  # recorded in [-1, 1)
    tokens = model.encode(images)
    moments = model.features(images)
    posterior = model.quantizer(moments).posterior
    grid = (tokens.layout.height, tokens.layout.width)
    return {
        "moments": to_map(moments, *grid),
        "mean": to_map(posterior.mean, *grid),
        "std": to_map((posterior.logvar / 2).exp(), *grid),
        "kl": divergence(posterior).sum((1, 2)),
        "recon": model.decode(tokens, clamp=False) * 2 - 1,
    }
