"""TiTok, arXiv:2406.07550."""

from tokzoo.tokenizers.titok.config import TitokConfig, VitSize

__all__ = ["TitokConfig", "VitSize"]
