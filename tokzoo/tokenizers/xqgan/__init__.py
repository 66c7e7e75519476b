"""XQ-GAN, arXiv:2412.01762, and ImageFolder, arXiv:2410.01756."""

from tokzoo.tokenizers.xqgan.config import XqganConfig

__all__ = ["XqganConfig"]
