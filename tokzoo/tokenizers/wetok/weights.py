"""Published weights of WeTok, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import rename_keys, use_average
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.open_magvit2.weights import MAGVIT2_CNN_RULES
from tokzoo.tokenizers.wetok import config as sizes
from tokzoo.tokenizers.wetok.config import WetokConfig

if TYPE_CHECKING:
    from torch import Tensor


def convert(state: Mapping[str, "Tensor"], config: WetokConfig) -> dict[str, "Tensor"]:
    """The authors' state dict, or its moving average where it holds one -> ours."""
    return rename_keys(use_average(state), MAGVIT2_CNN_RULES)


def read_config(published: Mapping[str, Any]) -> WetokConfig | None:
    """The sizes in the authors' own names (their yaml's), or None for another family's."""
    if not {"ddconfig", "num_codebooks", "embed_dim"} <= set(published):
        return None
    ddconfig = published["ddconfig"]  # `resolution` is 128 in all, and read by nothing
    return WetokConfig(
        width=ddconfig["ch"],
        multipliers=tuple(ddconfig["ch_mult"]),
        num_blocks=ddconfig["num_res_blocks"],
        code_dim=ddconfig["z_channels"],
        num_groups=published["num_codebooks"],
        generative=published.get("gan_decoder", False),
    )


def _rfid(value: float) -> Score:
    return Score(
        metric="rFID", value=value, protocol="zero-shot, ImageNet val 50k, 256x256; abstract of arXiv:2508.05599"
    )


def _published(name: str, config: WetokConfig, folder: str, tag: str, *scores: Score, note: str = "") -> Architecture:
    return Architecture(
        name=name,
        family="wetok",
        model="tokzoo.tokenizers.wetok.model:Wetok",
        config=config,
        token_type="discrete",
        paper="2508.05599",
        convert="tokzoo.tokenizers.wetok.weights:convert",
        read_config="tokzoo.tokenizers.wetok.weights:read_config",
        golden="tokzoo.tokenizers.wetok.golden:run",
        weights=(
            Weights(
                tag=tag,
                sources=(Source(repo="GrayShine/WeTok", files=(f"{folder}/WeTok.ckpt",)),),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=scores,
                checked="manifest",
                note=note,
            ),
        ),
    )


DRAWS = "Its decoder draws: give a generator for the same picture again."
ARCHITECTURES = (
    _published("wetok_imagenet_f8", sizes.WETOK_IMAGENET_F8, "ImageNet/downsample8", "in1k"),
    _published("wetok_imagenet_f16", sizes.WETOK_IMAGENET_F16, "ImageNet/downsample16", "in1k"),
    _published("wetok_general_24", sizes.WETOK_GENERAL_24, "GeneralDomain/compratio24", "general", _rfid(0.12)),
    _published("wetok_general_48", sizes.WETOK_GENERAL_48, "GeneralDomain/compratio48", "general"),
    _published("wetok_general_192", sizes.WETOK_GENERAL_192, "GeneralDomain/compratio192", "general"),
    _published(
        "wetok_general_768",
        sizes.WETOK_GENERAL_768,
        "GeneralDomain/compratio768",
        "general",
        _rfid(3.49),
        note=DRAWS,
    ),
)
