"""The numbers of the tiny autoencoders under the names of their golden cases."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.taesd.config import TaesdConfig


def run(case: Case) -> dict[str, Tensor]:
    config = TaesdConfig(code_dim=case.config["latent_channels"], pooled=case.config["use_midblock_gn"])
    return numbers(build(case, config), case.image())


def numbers(model: VisualTokenizer, images: Tensor) -> dict[str, Tensor]:
    """Latents and reconstruction of `images`."""
    tokens = model.encode(images)
    grid = tokens.layout
    return {
        "latent": to_map(model.codes(tokens), grid.height, grid.width),  # type: ignore[union-attr]
        "reconstruction": model.decode(tokens, clamp=False),
    }
