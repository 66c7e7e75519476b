"""Published weights of VQGAN, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.kl16_vae.weights import rename_ldm_cnn
from tokzoo.tokenizers.ldm_sizes import read_ddconfig
from tokzoo.tokenizers.vqgan import config as sizes
from tokzoo.tokenizers.vqgan.config import VqganConfig

if TYPE_CHECKING:
    from torch import Tensor

QUANTIZER_RULES: Rules = (
    (r"quantize\.embed(?:ding)?\.weight", r"quantizer.codebook"),
    (r"quantize\.proj\.(.+)", r"quantizer.to_logits.\1"),
    (r"loss\..+", None),  # discriminator, LPIPS: training only
)


def convert(state: Mapping[str, "Tensor"], config: VqganConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = rename_ldm_cnn(state, QUANTIZER_RULES)
    if config.gumbel:
        ours["quantizer.to_logits.weight"] = ours["quantizer.to_logits.weight"].flatten(1)  # a 1x1 conv there
    return ours


def read_config(published: Mapping[str, Any]) -> VqganConfig | None:
    """The sizes in the authors' own names (`params` of the model in their yaml), or None for another family's."""
    if not {"ddconfig", "n_embed", "embed_dim"} <= set(published) or "beta" in published:
        return None
    if "attn_resolutions" not in published["ddconfig"]:
        return None
    return VqganConfig(**read_ddconfig(published), code_dim=published["embed_dim"], codebook_size=published["n_embed"])


def read_gumbel_config(published: Mapping[str, Any]) -> VqganConfig | None:
    """The same of the Gumbel variant, whose configs have the same entries."""
    from dataclasses import replace

    config = read_config(published)
    return None if config is None else replace(config, gumbel=True)


VAL = "ImageNet val 50k against their reconstructions, 256x256; README of CompVis/taming-transformers"
TRAIN = "ImageNet train against their reconstructions, 256x256; README of CompVis/taming-transformers"


def _published(name: str, config: VqganConfig, folder: str, tag: str, val: float, train: float) -> Architecture:
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
                sources=(Source(repo="CompVis/taming-transformers", files=(f"{folder}/ckpts/last.ckpt",)),),
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
    _published("vqgan_f16_1024", sizes.VQGAN_F16_1024, "vqgan_imagenet_f16_1024", "in1k", 7.94, 10.54),
    _published("vqgan_f16_16384", sizes.VQGAN_F16_16384, "vqgan_imagenet_f16_16384", "in1k", 4.98, 7.41),
    _published("vqgan_gumbel_f8_8192", sizes.VQGAN_GUMBEL_F8_8192, "vqgan_gumbel_f8", "openimages", 1.49, 3.24),
)
