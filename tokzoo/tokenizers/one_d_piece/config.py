"""Sizes of One-D-Piece."""

from dataclasses import dataclass
from typing import Literal

from tokzoo.tokenizers.titok.config import BASE, LARGE, NANO, SMALL, SMALLEST, TitokConfig


@dataclass(frozen=True, kw_only=True)
class OneDPieceConfig(TitokConfig):
    """Sizes of one One-D-Piece: those of a TiTok of both training stages.

    Args:
        num_tokens: of a full-length image; any prefix decodes.
        tail_drop: in training, cut every batch to a random length, so that first tokens learn to say most.
    """

    num_tokens: int = 256
    head: Literal["pixels", "code_logits", "code_mixture"] = "code_mixture"
    scrambled: bool = True
    tail_drop: bool = True


ONE_D_PIECE_S256 = OneDPieceConfig(encoder=SMALL, decoder=SMALL)
ONE_D_PIECE_B256 = OneDPieceConfig(encoder=BASE, decoder=BASE)
ONE_D_PIECE_L256 = OneDPieceConfig(encoder=LARGE, decoder=LARGE)

ONE_D_PIECE_NANO = OneDPieceConfig(  # ours: the sizes of titok_nano, whose weights fit
    image_size=64, patch_size=8, num_tokens=32, encoder=NANO, decoder=NANO, head="pixels", scrambled=False
)
TINY = OneDPieceConfig(
    image_size=16,
    patch_size=4,
    num_tokens=8,
    encoder=SMALLEST,
    decoder=SMALLEST,
    codebook_size=16,
    code_dim=6,
    head="pixels",
    scrambled=False,
)
