"""VQGAN's numbers under the names of its golden cases."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.tokenizers.vqgan.weights import read_config, read_gumbel_config


def run(case: Case) -> dict[str, Tensor]:
    gumbel = "quantize.proj.weight" in case.weights
    model = build(case, (read_gumbel_config if gumbel else read_config)(case.config))
    images = (case.image() + 1) / 2  # recorded in [-1, 1]
    output = model(images)
    grid = (output.tokens.layout.height, output.tokens.layout.width)
    ours = {
        "latent": to_map(output.latents, *grid),
        "indices": output.tokens.indices.unflatten(1, grid),
        "quantized": to_map(output.codes, *grid),
        "recon": model.decode(output.tokens, clamp=False) * 2 - 1,
    }
    if gumbel:
        to_latents, _ = model.encoder.to_code.children()
        before = to_latents(model.encoder.latent_map(images))
        ours |= {"logits": ours["latent"], "latent": before}
    return ours
