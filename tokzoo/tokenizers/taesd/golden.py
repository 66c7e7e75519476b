"""The numbers of the tiny autoencoders under the names of their golden cases."""

from dataclasses import replace

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.taesd.config import TAESANA, TAESD


def run(case: Case) -> dict[str, Tensor]:
    published = case.config
    base = TAESANA if published.get("arch_variant") == "f32" else TAESD
    sizes = dict(code_dim=published["latent_channels"], pooled=published.get("use_midblock_gn", False))
    config = replace(base, **sizes)
    return numbers(build(case, config), case.image())


def numbers(model: VisualTokenizer, images: Tensor) -> dict[str, Tensor]:
    """Latents and reconstruction of `images`."""
    tokens = model.encode(images)
    grid = tokens.layout
    return {
        "latent": to_map(model.codes(tokens), grid.height, grid.width),  # type: ignore[union-attr]
        "reconstruction": model.decode(tokens, clamp=False),
    }
