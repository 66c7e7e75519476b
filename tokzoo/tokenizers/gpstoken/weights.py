"""Published weights of GPSToken, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.gpstoken import config as sizes
from tokzoo.tokenizers.gpstoken.config import GpsTokenConfig

if TYPE_CHECKING:
    from torch import Tensor

UP = r"decoder\.up\.(\d+)\.block\.(\d+)"
RULES: Rules = (
    (r"preprocess_img\.\d\.temb_proj\..+", None),  # of a time that is never given
    (r"preprocess_img\.(.+)", r"encoder.stem.\1"),
    (r"roialign_layer\.(.+)", r"encoder.to_cells.\1"),
    (r"gps_embed\.weight", r"encoder.query"),
    (r"gps_embed_layer\.(.+)", r"encoder.place.\1"),
    (r"attnblocks\.(\d+)\.roimlp\.(.+)", r"encoder.blocks.\1.look.\2"),
    (r"attnblocks\.(\d+)\.ln([12])\.(.+)", r"encoder.blocks.\1.block.norm\2.\3"),
    (r"attnblocks\.(\d+)\.attn1\.in_proj_(.+)", r"encoder.blocks.\1.block.attn.qkv.\2"),
    (r"attnblocks\.(\d+)\.attn1\.out_proj\.(.+)", r"encoder.blocks.\1.block.attn.proj.\2"),
    (r"attnblocks\.(\d+)\.mlp\.0\.(.+)", r"encoder.blocks.\1.block.mlp.fc1.\2"),
    (r"attnblocks\.(\d+)\.mlp\.2\.(.+)", r"encoder.blocks.\1.block.mlp.fc2.\2"),
    (r"to_gps\.0\.(.+)", r"encoder.to_geometry.\1"),
    (r"to_gps\.1\.(.+)", r"encoder.to_code.\1"),
    (r"decoder\.mid\.block_([12])\.(.+)", r"decoder.middle\1.\2"),
    (r"decoder\.mid\.attn_1\.norm\.(.+)", r"decoder.attention.norm.\1"),
    (r"decoder\.mid\.attn_1\.q\.(.+)", r"decoder.attention.query.\1"),
    (r"decoder\.mid\.attn_1\.k\.(.+)", r"decoder.attention.key.\1"),
    (r"decoder\.mid\.attn_1\.v\.(.+)", r"decoder.attention.value.\1"),
    (r"decoder\.mid\.attn_1\.proj_out\.(.+)", r"decoder.attention.proj.\1"),
    (UP + r"\.nin_shortcut\.(.+)", r"decoder.levels.\1.\2.shortcut.\3"),
    (UP + r"\.(.+)", r"decoder.levels.\1.\2.\3"),
    (r"decoder\.up\.(\d+)\.upsample\.(.+)", r"decoder.upsample.\1.\2"),
    (r"decoder\.(conv_in|norm_out|conv_out)\.(.+)", r"decoder.\1.\2"),
)


def convert(state: Mapping[str, "Tensor"], config: GpsTokenConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = rename_keys(state, RULES)
    ours["encoder.to_cells.weight"] = ours["encoder.to_cells.weight"].flatten(1)  # a 1x1 conv there
    ours["encoder.query"] = ours["encoder.query"].squeeze(0)  # one row, the same for all tokens
    for level in range(1, len(config.multipliers)):  # there is none at full resolution
        for part in ("weight", "bias"):
            ours[f"decoder.upsamples.{level - 1}.conv.{part}"] = ours.pop(f"decoder.upsample.{level}.conv.{part}")
    return ours


def read_config(published: Mapping[str, Any]) -> GpsTokenConfig | None:
    """The sizes in the authors' configuration, or None for another family's."""
    if not {"gpsconfig", "decoderconfig"} <= set(published):
        return None
    gaussians, decoder = published["gpsconfig"], published["decoderconfig"]
    multipliers = tuple(decoder["ch_mult"])
    return GpsTokenConfig(
        image_size=gaussians["gps_rs"][0] * 2 ** (len(multipliers) - 1),
        num_tokens=gaussians["gps_num"],
        code_dim=gaussians["gps_c"],
        entropy_power=gaussians["gps_adaptive_w"],
        num_cells=gaussians["rois"],
        width=gaussians["gpsenc_c"],
        depth=gaussians["gpsenc_n"],
        cutoff=float(gaussians["gps_dmax"]),
        decoder_width=decoder["ch"],
        multipliers=multipliers,
        num_blocks=decoder["num_res_blocks"],
        seams=gaussians["gps_c"] == 32,  # l256 is the only one of that width, and the only one so published
    )


PROTOCOL = "ImageNet val 50k, 256x256; README of xtudbxk/GPSToken"
NOTE = (
    "The authors' README speaks of Apache-2.0, their repository holds no licence file, the hub's card says MIT. "
    "Their README gives another column, FID, and does not say how the two differ."
)


def _published(name: str, config: GpsTokenConfig, **scores: float) -> Architecture:
    return Architecture(
        name=name,
        family="gpstoken",
        model="tokzoo.tokenizers.gpstoken.model:GpsToken",
        config=config,
        token_type="continuous",
        paper="2509.01109",
        convert="tokzoo.tokenizers.gpstoken.weights:convert",
        read_config="tokzoo.tokenizers.gpstoken.weights:read_config",
        golden="tokzoo.tokenizers.gpstoken.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(Source(repo="xtudbxk/GPSToken", files=(f"{name}.safetensors",)),),
                code_licence="Apache-2.0",
                licence="MIT",
                scores=tuple(Score(metric=metric, value=value, protocol=PROTOCOL) for metric, value in scores.items()),
                checked="manifest",
                note=NOTE,
            ),
        ),
    )


ARCHITECTURES = (
    _published("gpstoken_s64", sizes.GPSTOKEN_S64, PSNR=22.18, SSIM=0.578, LPIPS=0.111, rFID=1.31),
    _published("gpstoken_m128", sizes.GPSTOKEN_M128, PSNR=24.06, SSIM=0.657, LPIPS=0.080, rFID=0.65),
    _published("gpstoken_l256", sizes.GPSTOKEN_L256, PSNR=28.81, SSIM=0.809, LPIPS=0.043, rFID=0.22),
    Architecture(
        name="gpstoken_nano",
        family="gpstoken",
        model="tokzoo.tokenizers.gpstoken.model:GpsToken",
        config=sizes.GPSTOKEN_NANO,
        token_type="continuous",
        paper="2509.01109",
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
