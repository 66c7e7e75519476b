"""Published weights of VQGAN, and how their keys are read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, ManualSource, Score, Weights
from tokzoo.tokenizers.kl16_vae.weights import BRICK_RULES, LDM_CNN_RULES
from tokzoo.tokenizers.ldm_sizes import read_ddconfig
from tokzoo.tokenizers.vqgan import config as sizes
from tokzoo.tokenizers.vqgan.config import VqganConfig

if TYPE_CHECKING:
    from torch import Tensor

QUANTIZER_RULES: Rules = (
    (r"quantize\.embed(?:ding)?\.weight", r"quantizer.codebook"),
    (r"loss\..+", None),  # discriminator, LPIPS: training only
)
GUMBEL_RULES: Rules = (
    (r"quant_conv\.(.+)", r"encoder.to_code.0.\1"),
    (r"quantize\.proj\.(.+)", r"encoder.to_code.1.\1"),
)


def convert(state: Mapping[str, "Tensor"], config: VqganConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    rules = (*LDM_CNN_RULES, *QUANTIZER_RULES)
    return rename_keys(rename_keys(state, (*GUMBEL_RULES, *rules) if config.gumbel else rules), BRICK_RULES)


def read_config(published: Mapping[str, Any]) -> VqganConfig | None:
    """The sizes in the authors' own names (`params` of the model in their yaml), or None for another family's."""
    if not {"ddconfig", "n_embed", "embed_dim"} <= set(published) or "beta" in published:
        return None
    if "attn_resolutions" not in published["ddconfig"]:
        return None
    return VqganConfig(**read_ddconfig(published), code_dim=published["embed_dim"], codebook_size=published["n_embed"])


def read_gumbel_config(published: Mapping[str, Any]) -> VqganConfig | None:
    """The same of the Gumbel variant, whose configs have the same entries."""
    config = read_config(published)
    return None if config is None else replace(config, gumbel=True)


VAL = "reconstruction FID vs ImageNet val, 256x256; README of CompVis/taming-transformers"
TRAIN = "reconstruction FID vs ImageNet train, 256x256; README of CompVis/taming-transformers"


def _published(name: str, config: VqganConfig, folder: str, tag: str, val: float, train: float) -> Architecture:
    page = f"https://heibox.uni-heidelberg.de/d/{folder}/"
    return Architecture(
        name=name,
        family="vqgan",
        model="tokzoo.tokenizers.vqgan.model:Vqgan",
        config=config,
        token_type="discrete",
        paper="2012.09841",
        convert="tokzoo.tokenizers.vqgan.weights:convert",
        read_config=f"tokzoo.tokenizers.vqgan.weights:read_{'gumbel_' if config.gumbel else ''}config",
        golden="tokzoo.tokenizers.vqgan.golden:run",
        weights=(
            Weights(
                tag=tag,
                manual=ManualSource(file="ckpts/last.ckpt", url=page),
                code_licence="MIT",
                licence="MIT",
                scores=(
                    Score(metric="rFID", value=val, protocol=VAL),
                    Score(metric="rFID", value=train, protocol=TRAIN),
                ),
                checked="manifest",
            ),
        ),
    )


ARCHITECTURES = (
    _published("vqgan_f16_1024", sizes.VQGAN_F16_1024, "8088892a516d4e3baf92", "in1k", 7.94, 10.54),
    _published("vqgan_f16_16384", sizes.VQGAN_F16_16384, "a7530b09fed84f80a887", "in1k", 4.98, 7.41),
    _published("vqgan_gumbel_f8_8192", sizes.VQGAN_GUMBEL_F8_8192, "2e5662443a6b4307b470", "openimages", 1.49, 3.24),
)
