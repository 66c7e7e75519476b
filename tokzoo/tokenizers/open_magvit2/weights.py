"""Published weights of Open-MAGVIT2, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys, use_average
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.open_magvit2 import config as sizes
from tokzoo.tokenizers.open_magvit2.config import OpenMagvit2Config

if TYPE_CHECKING:
    from torch import Tensor

MAGVIT2_CNN_RULES: Rules = (
    (r"(encoder|decoder)\.(conv_in|norm_out|conv_out)\.(.+)", r"\1.\2.\3"),
    (r"(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.(\d+)\.nin_shortcut\.(.+)", r"\1.levels.\2.blocks.\3.shortcut.\4"),
    (r"(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.(\d+)\.(.+)", r"\1.levels.\2.blocks.\3.\4"),
    (r"(encoder|decoder)\.mid_block\.(\d+)\.(.+)", r"\1.middle.\2.\3"),
    (r"encoder\.down\.(\d+)\.downsample\.(.+)", r"encoder.levels.\1.resample.\2"),
    (r"decoder\.up\.(\d+)\.upsample\.conv1\.(.+)", r"decoder.levels.\1.resample.conv.\2"),
    (r"decoder\.adaptive\.(\d+)\.gamma\.(.+)", r"decoder.modulations.\1.scale.\2"),
    (r"decoder\.adaptive\.(\d+)\.beta\.(.+)", r"decoder.modulations.\1.shift.\2"),
    (r"loss\..+", None),  # discriminator, LPIPS: training only
)


def convert(state: Mapping[str, "Tensor"], config: OpenMagvit2Config) -> dict[str, "Tensor"]:
    """The authors' state dict, or its moving average where it holds one -> ours."""
    return rename_keys(use_average(state), MAGVIT2_CNN_RULES)


def read_config(published: Mapping[str, Any]) -> OpenMagvit2Config | None:
    """The sizes in the authors' own names (their yaml's), or None for another family's."""
    if not {"ddconfig", "codebook_size"} <= set(published) and not {"ddconfig", "n_embed"} <= set(published):
        return None
    ddconfig = published["ddconfig"]
    if "attn_resolutions" in ddconfig or "num_codebooks" in published:
        return None
    multipliers = tuple(ddconfig["ch_mult"])
    return OpenMagvit2Config(
        image_size=16 * 2 ** (len(multipliers) - 1),  # 16x16 tokens; `resolution` is 128 in all, and read by nothing
        width=ddconfig["ch"],
        multipliers=multipliers,
        num_blocks=ddconfig["num_res_blocks"],
        code_dim=ddconfig["z_channels"],
    )


README = "docs/Open-MAGVIT2.md of TencentARC/SEED-Voken"
IN1K = "ImageNet val 50k, {0}x{0}; " + README
COCO = f"MS-COCO val 2017, 256x256; {README}"


def _published(
    name: str, config: OpenMagvit2Config, repo: str, file: str, tag: str, scores: Mapping[str, tuple[float, float]]
) -> Architecture:
    """One row of the table; `scores` are rFID and PSNR by protocol."""
    return Architecture(
        name=name,
        family="open_magvit2",
        model="tokzoo.tokenizers.open_magvit2.model:OpenMagvit2",
        config=config,
        token_type="discrete",
        paper="2409.04410",
        convert="tokzoo.tokenizers.open_magvit2.weights:convert",
        read_config="tokzoo.tokenizers.open_magvit2.weights:read_config",
        golden="tokzoo.tokenizers.open_magvit2.golden:run",
        weights=(
            Weights(
                tag=tag,
                sources=(Source(repo=f"TencentARC/Open-MAGVIT2-Tokenizer-{repo}", files=(file,)),),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=tuple(
                    Score(metric=metric, value=value, protocol=protocol)
                    for protocol, values in scores.items()
                    for metric, value in zip(("rFID", "PSNR"), values, strict=True)
                ),
                checked="manifest",
            ),
        ),
    )


ARCHITECTURES = (
    _published(
        "open_magvit2_256",
        sizes.OPEN_MAGVIT2_256,
        "256-resolution",
        "imagenet_256_L.ckpt",
        "in1k",
        {IN1K.format(256): (1.17, 21.90)},
    ),
    _published(
        "open_magvit2_128",
        sizes.OPEN_MAGVIT2_128,
        "128-resolution",
        "imagenet_128_L.ckpt",
        "in1k",
        {IN1K.format(128): (1.18, 25.08), IN1K.format(256): (0.34, 26.19)},
    ),
    _published(
        "open_magvit2_pt16384",
        sizes.OPEN_MAGVIT2_PT16384,
        "16384-Pretrain",
        "pretrain256_16384.ckpt",
        "pretrain",
        {IN1K.format(256): (2.55, 22.21), COCO: (7.93, 22.21)},
    ),
    _published(
        "open_magvit2_pt262144",
        sizes.OPEN_MAGVIT2_PT262144,
        "262144-Pretrain",
        "pretrain256_262144.ckpt",
        "pretrain",
        {IN1K.format(256): (1.67, 22.70), COCO: (6.76, 22.31)},
    ),
)
