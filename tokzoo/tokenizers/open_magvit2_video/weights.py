"""Published weights of Open-MAGVIT2's video tokenizer, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys, use_average
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.open_magvit2.weights import MAGVIT2_CNN_RULES
from tokzoo.tokenizers.open_magvit2_video.config import OPEN_MAGVIT2_VIDEO, OpenMagvit2VideoConfig

if TYPE_CHECKING:
    from torch import Tensor

CONV_RULES: Rules = (  # their causal conv holds one called conv_1
    (r"(.+)\.conv_1\.(weight|bias)", r"\1.conv.\2"),
    (r"(.+)", r"\1"),
)


def convert(state: Mapping[str, "Tensor"], config: OpenMagvit2VideoConfig) -> dict[str, "Tensor"]:
    """The authors' state dict, or its moving average where it holds one -> ours."""
    return rename_keys(rename_keys(use_average(state), MAGVIT2_CNN_RULES), CONV_RULES)


def read_config(published: Mapping[str, Any]) -> OpenMagvit2VideoConfig | None:
    """The sizes in the model section of the authors' yaml, or None for another family's."""
    if not str(published.get("class_path", "")).endswith("video_lfqgan.VQModel"):
        return None
    sizes = published["init_args"]["ddconfig"]
    return OpenMagvit2VideoConfig(
        image_size=sizes["resolution"],
        width=sizes["ch"],
        multipliers=tuple(sizes["ch_mult"]),
        num_blocks=sizes["num_res_blocks"],
        code_dim=sizes["z_channels"],
    )


ARCHITECTURES = (
    Architecture(
        name="open_magvit2_video",
        family="open_magvit2_video",
        model="tokzoo.tokenizers.open_magvit2_video.model:OpenMagvit2Video",
        config=OPEN_MAGVIT2_VIDEO,
        token_type="discrete",
        modality="video",
        paper="2409.04410",
        convert="tokzoo.tokenizers.open_magvit2_video.weights:convert",
        read_config="tokzoo.tokenizers.open_magvit2_video.weights:read_config",
        golden="tokzoo.tokenizers.open_magvit2_video.golden:run",
        weights=(
            Weights(
                tag="ucf101",
                sources=(
                    Source(repo="TencentARC/Open-MAGVIT2-Tokenizer-262144-Video", files=("video_128_262144.ckpt",)),
                ),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(
                    Score(
                        metric="rFVD",
                        value=16.0,
                        protocol="UCF-101, 17 frames, 128x128; docs/Open-MAGVIT2.md of TencentARC/SEED-Voken",
                    ),
                ),
                checked="manifest",
            ),
        ),
    ),
)
