"""ALIT, arXiv:2411.02393."""

from tokzoo.tokenizers.alit.config import AlitConfig

__all__ = ["AlitConfig"]
