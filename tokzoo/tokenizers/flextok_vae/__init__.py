"""The autoencoders under FlexTok, arXiv:2502.13967."""

from tokzoo.tokenizers.flextok_vae.config import FlextokVaeConfig

__all__ = ["FlextokVaeConfig"]
