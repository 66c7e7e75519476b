"""WeTok, arXiv:2508.05599."""

from tokzoo.tokenizers.wetok.config import WetokConfig

__all__ = ["WetokConfig"]
