"""TA-TiTok, arXiv:2501.07730."""

from tokzoo.tokenizers.tatitok.config import TatitokConfig

__all__ = ["TatitokConfig"]
