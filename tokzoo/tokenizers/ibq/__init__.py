"""IBQ, arXiv:2412.02692."""

from tokzoo.tokenizers.ibq.config import IbqConfig

__all__ = ["IbqConfig"]
