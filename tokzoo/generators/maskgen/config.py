"""Sizes of the published MaskGens; numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MaskgenConfig:
    """Sizes that both kinds have.

    Args:
        num_tokens: of a picture, in a row.
        text_dim: channels of a text feature.
        score_dim: waves that tell how beautiful the picture is to be.
        width, depth, num_heads: of the transformer.
    """

    num_tokens: int = 128
    grid: None = None
    text_dim: int = 768
    score_dim: int = 256
    width: int = 1024
    depth: int = 16
    num_heads: int = 16


@dataclass(frozen=True, kw_only=True)
class MaskgenVqConfig(MaskgenConfig):
    """Sizes of one MaskGen on discrete tokens. `num_classes`, and one for none, have rows that nothing reads.

    `slots` and `planes` as MaskGIT has them.
    """

    codebook_size: int = 8192
    num_classes: int = 1000
    slots: tuple[int, ...] = ()
    planes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class MaskgenKlConfig(MaskgenConfig):
    """Sizes of one MaskGen on continuous tokens.

    Args:
        channels: of a token.
        scale, shift: it models (latents - shift) * scale.
        head_width, head_depth: of the network that denoises a token.
    """

    num_tokens: int = 32
    channels: int = 16
    scale: float = 0.7525
    shift: float = 0.0
    head_width: int = 1024
    head_depth: int = 8

    @property
    def decoder_width(self) -> int:
        """Of what the head reads."""
        return self.width


XL = dict(width=1280, depth=20)
MASKGEN_VQ_L = MaskgenVqConfig()
MASKGEN_VQ_XL = MaskgenVqConfig(**XL)  # type: ignore[arg-type]
MASKGEN_KL_L = MaskgenKlConfig()
MASKGEN_KL_XL = MaskgenKlConfig(head_width=1280, **XL)  # type: ignore[arg-type]

SMALL = dict(text_dim=12, score_dim=8, width=32, depth=2, num_heads=2)
TINY = MaskgenVqConfig(num_tokens=12, codebook_size=40, num_classes=3, **SMALL)  # type: ignore[arg-type]
TINY_KL = MaskgenKlConfig(num_tokens=8, channels=4, head_width=32, head_depth=2, **SMALL)  # type: ignore[arg-type]
