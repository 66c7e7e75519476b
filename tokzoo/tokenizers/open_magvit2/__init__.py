"""Open-MAGVIT2, arXiv:2409.04410."""

from tokzoo.tokenizers.open_magvit2.config import OpenMagvit2Config

__all__ = ["OpenMagvit2Config"]
