"""MaskGIT, arXiv:2202.04200, as it was trained on the tokens of TiTok and One-D-Piece."""

from tokzoo.generators.maskgit.config import MaskgitConfig

__all__ = ["MaskgitConfig"]
