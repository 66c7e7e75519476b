"""Published weights of MaskGIT's VQGAN, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.maskgit_vqgan.config import MASKGIT_VQGAN_F16, MaskgitVqganConfig

if TYPE_CHECKING:
    from torch import Tensor

CNN_RULES: Rules = (
    (r"(encoder|decoder)\.(conv_in|norm_out|conv_out)\.(weight|bias)", r"\1.\2.\3"),
    (r"(encoder|decoder)\.mid\.(\d+)\.(.+)", r"\1.middle.\2.\3"),
    (r"(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.(\d+)\.nin_shortcut\.(.+)", r"\1.levels.\2.\3.shortcut.\4"),
    (r"(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.(\d+)\.(.+)", r"\1.levels.\2.\3.\4"),
    (r"decoder\.up\.(\d+)\.upsample_conv\.(.+)", r"decoder.upsamplers.\1.\2"),
)
RULES: Rules = (*CNN_RULES, (r"quantize\.embedding\.weight", r"quantizer.codebook"))


def convert(state: Mapping[str, "Tensor"], config: MaskgitVqganConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    return rename_keys(state, RULES)


def read_config(published: Mapping[str, Any]) -> MaskgitVqganConfig | None:
    """The sizes in the authors' own names (the model section of their yaml), or None for another family's."""
    if not {"channel_mult", "hidden_channels", "num_res_blocks", "z_channels"} <= set(published):
        return None
    return MaskgitVqganConfig(
        image_size=published.get("resolution", 256),
        width=published["hidden_channels"],
        multipliers=tuple(published["channel_mult"]),
        num_blocks=published["num_res_blocks"],
        codebook_size=published.get("n_embed", 1024),
        code_dim=published["z_channels"],
    )


ARCHITECTURES = (
    Architecture(
        name="maskgit_vqgan_f16",
        family="maskgit_vqgan",
        model="tokzoo.tokenizers.maskgit_vqgan.model:MaskgitVqgan",
        config=MASKGIT_VQGAN_F16,
        token_type="discrete",
        paper="2202.04200",
        convert="tokzoo.tokenizers.maskgit_vqgan.weights:convert",
        read_config="tokzoo.tokenizers.maskgit_vqgan.weights:read_config",
        golden="tokzoo.tokenizers.maskgit_vqgan.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(Source(repo="fun-research/TiTok", files=("maskgit-vqgan-imagenet-f16-256.bin",)),),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(
                    Score(metric="rFID", value=2.28, protocol="ImageNet val 50k, as the MaskGIT repository gives it"),
                ),
                checked="manifest",
            ),
        ),
    ),
)
