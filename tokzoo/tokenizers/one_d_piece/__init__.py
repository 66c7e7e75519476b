"""One-D-Piece, arXiv:2501.10064."""

from tokzoo.tokenizers.one_d_piece.config import OneDPieceConfig

__all__ = ["OneDPieceConfig"]
