"""MaskGIT's VQGAN, arXiv:2202.04200."""

from tokzoo.tokenizers.maskgit_vqgan.config import MaskgitVqganConfig

__all__ = ["MaskgitVqganConfig"]
