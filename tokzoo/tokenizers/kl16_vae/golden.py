"""The numbers of the KL-16 autoencoder under the names of its golden cases."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.quantizers.gaussian import divergence
from tokzoo.tokenizers.kl16_vae.weights import read_config
from tokzoo.tokens import Tokens


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    images = (case.image() + 1) / 2  # recorded in [-1, 1]
    tokens = model.encode(images)
    grid = tokens.layout

    def as_map(vectors: Tensor) -> Tensor:
        return to_map(vectors, grid.height, grid.width)

    moments = model.features(images)
    posterior = model.quantizer(moments).posterior
    given = Tokens(layout=grid, latents=to_tokens(case.image("z")))
    return {
        "encoder_out": model.encoder.latent_map(images),
        "moments": as_map(moments),
        "mean": as_map(posterior.mean),
        "logvar": as_map(posterior.logvar),
        "kl": divergence(posterior).sum((1, 2)),
        "recon": model.decode(tokens, clamp=False) * 2 - 1,
        "decode_z": model.decode(given, clamp=False) * 2 - 1,
    }
