"""Sizes of FlexTok."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tokzoo.tokenizers.grid.config import plain


@dataclass(frozen=True, kw_only=True)
class TransformerSize:
    """Sizes of one transformer."""

    width: int
    depth: int
    num_heads: int


def _of_depth(depth: int) -> TransformerSize:
    """Heads of 64 channels, as many as there are blocks."""
    return TransformerSize(width=64 * depth, depth=depth, num_heads=depth)


D12, D18, D28 = _of_depth(12), _of_depth(18), _of_depth(28)


@dataclass(frozen=True, kw_only=True)
class FlextokConfig:
    """Sizes of one FlexTok. Image sizes are pixels, widths are channels.

    Args:
        image_size: the largest side; smaller ones fit, too.
        vae: registered name of the continuous tokenizer whose latents on a grid are read and drawn; None: pixels.
        vae_config: fields of its config that differ, nested ones as mappings; its `image_size` is the one above.
        scale, shift: latents are (z - shift) * scale, one for all channels or one for each. The published scale is in
            the weights file, which is believed; it is 1 here.
        patch_size: latents per side of a patch.
        num_registers: the most tokens of an image.
        levels: values per channel of a token.
        max_time: what 1000 is divided by to get the frequency of time's fastest wave; 1000 in the authors' code.
        steps, guidance, method: how pictures are drawn unless `decode` is told otherwise; as the authors advise.
    """

    image_size: int = 256
    vae: str | None = "flextok_vae_c16"
    vae_config: Mapping[str, Any] = field(default_factory=dict)
    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)
    patch_size: int = 2
    num_registers: int = 256
    encoder: TransformerSize = D12
    decoder: TransformerSize = D12
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)
    max_time: float = 1000.0
    steps: int = 20
    guidance: float = 7.5
    method: Literal["cfg", "apg"] = "apg"

    def __post_init__(self) -> None:
        object.__setattr__(self, "vae_config", plain(self.vae_config))


FLEXTOK_D12_D12 = FlextokConfig()
FLEXTOK_D18_D18 = FlextokConfig(encoder=D18, decoder=D18)
FLEXTOK_D18_D28 = FlextokConfig(encoder=D18, decoder=D28)
FLEXTOK_NANO = FlextokConfig(  # ours: 64x64 photos to 1 to 32 tokens
    image_size=64,
    vae="vit_kl_nano",
    scale=(1.02,),  # of vit_kl_nano.photos64's latents, as is the shift
    shift=(0.05,),
    patch_size=1,
    num_registers=32,
    encoder=TransformerSize(width=96, depth=3, num_heads=3),
    decoder=TransformerSize(width=96, depth=4, num_heads=3),
    steps=10,
    guidance=3.0,  # of 1.5, 2 and 3 the greatest cosine of features on training photos
    method="cfg",
)
TINY = FlextokConfig(
    image_size=16,
    vae_config=dict(width=8, multipliers=(1, 2), num_blocks=1, code_dim=4, groups=4),
    scale=(0.7,),
    num_registers=8,
    encoder=TransformerSize(width=32, depth=1, num_heads=2),
    decoder=TransformerSize(width=32, depth=2, num_heads=2),
    steps=2,
)
