"""Open-MAGVIT2's video tokenizer, arXiv:2409.04410."""

from tokzoo.tokenizers.open_magvit2_video.config import OpenMagvit2VideoConfig

__all__ = ["OpenMagvit2VideoConfig"]
