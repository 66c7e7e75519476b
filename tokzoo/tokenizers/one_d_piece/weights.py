"""Published weights of One-D-Piece, and how their configs are read; their keys are those of TiTok's second stage."""

from collections.abc import Mapping
from typing import Any

from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.maskgit_vqgan.config import MASKGIT_VQGAN_F16, MaskgitVqganConfig
from tokzoo.tokenizers.one_d_piece import config as sizes
from tokzoo.tokenizers.one_d_piece.config import OneDPieceConfig
from tokzoo.tokenizers.titok.config import VIT_SIZES, VitSize
from tokzoo.tokenizers.titok.weights import read_sizes


def read_config(
    published: Mapping[str, Any],
    *,
    vit_sizes: Mapping[str, VitSize] = VIT_SIZES,
    pixel: MaskgitVqganConfig = MASKGIT_VQGAN_F16,
) -> OneDPieceConfig | None:
    """The sizes in the authors' config.json, or None if it is not one of One-D-Piece's: those let lengths vary."""
    model = published.get("model", {}).get("vq_model")
    if not isinstance(model, Mapping) or model.get("strict_length_assertion", True):
        return None
    return OneDPieceConfig(**read_sizes(published, vit_sizes=vit_sizes, pixel=pixel))


README = "ImageNet val 50k, 256x256, all 256 tokens; README of turingmotors/One-D-Piece"
NESTOK = "ImageNet 256x256, first {} tokens; as listed in Tab. 4 of the NesTok paper"


def _published(size: str, config: OneDPieceConfig, rfid: float, *more: Score) -> Architecture:
    return Architecture(
        name=f"one_d_piece_{size}256",
        family="one_d_piece",
        model="tokzoo.tokenizers.one_d_piece.model:OneDPiece",
        config=config,
        token_type="discrete",
        paper="2501.10064",
        convert="tokzoo.tokenizers.titok.weights:convert",
        read_config="tokzoo.tokenizers.one_d_piece.weights:read_config",
        golden="tokzoo.tokenizers.one_d_piece.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(
                    Source(
                        repo=f"turing-motors/One-D-Piece-{size.upper()}-256",
                        files=("pytorch_model.bin", "model.safetensors"),
                    ),
                ),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(Score(metric="rFID", value=rfid, protocol=README), *more),
                checked="manifest",
                note="The licence is that of the authors' repository; the hub's model card was not seen.",
            ),
        ),
    )


ARCHITECTURES = (
    _published("s", sizes.ONE_D_PIECE_S256, 1.48),
    _published("b", sizes.ONE_D_PIECE_B256, 1.11),
    _published(
        "l",
        sizes.ONE_D_PIECE_L256,
        1.08,
        Score(metric="rFID", value=1.42, protocol=NESTOK.format(128)),
        Score(metric="rFID", value=2.10, protocol=NESTOK.format(64)),
        Score(metric="rFID", value=3.23, protocol=NESTOK.format(32)),
    ),
    Architecture(
        name="one_d_piece_nano",
        family="one_d_piece",
        model="tokzoo.tokenizers.one_d_piece.model:OneDPiece",
        config=sizes.ONE_D_PIECE_NANO,
        token_type="discrete",
        paper="2501.10064",
        weights=(
            Weights(
                tag="photos64",
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                checked="weights",
                note="Trained here on permissive photos; scores are in its card.",
            ),
        ),
    ),
)
