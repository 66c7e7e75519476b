"""Sizes that every tokenizer with the convolutional encoder and decoder of VQGAN has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LdmCnnSizes:
    """Sizes of one convolutional encoder and its mirror. Image sizes are pixels, widths are channels.

    Args:
        multipliers: of the width, per level; the image shrinks by 2 between levels.
        num_blocks: residual blocks per encoder level.
        latent_dim: channels between the networks and the convs that lead to the codes and back.
        attention_levels: levels with self-attention, 0 at full resolution.
    """

    image_size: int = 256
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_blocks: int = 2
    latent_dim: int = 256
    code_dim: int = 256
    attention_levels: tuple[int, ...] = (4,)

    @property
    def downsample(self) -> int:
        """Pixels per token side."""
        return int(2 ** (len(self.multipliers) - 1))


def read_ddconfig(published: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `LdmCnnSizes` that a `ddconfig` of taming-transformers and its followers tells."""
    sizes = published["ddconfig"]
    sides = [sizes["resolution"] >> level for level in range(len(sizes["ch_mult"]))]
    return dict(
        image_size=sizes["resolution"],
        width=sizes["ch"],
        multipliers=tuple(sizes["ch_mult"]),
        num_blocks=sizes["num_res_blocks"],
        latent_dim=sizes["z_channels"],
        attention_levels=tuple(level for level, side in enumerate(sides) if side in sizes.get("attn_resolutions", ())),
    )
