"""Published weights of TA-TiTok, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.maskgit_vqgan.config import MASKGIT_VQGAN_F16, MaskgitVqganConfig
from tokzoo.tokenizers.tatitok import config as sizes
from tokzoo.tokenizers.tatitok.config import TatitokConfig
from tokzoo.tokenizers.titok.config import VIT_SIZES, VitSize
from tokzoo.tokenizers.titok.weights import HEAD_RULES, VIT_RULES, read_sizes

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = (
    (r"quantize\.embed_prob", None),  # how often each code was used: steers the training of the codebook
    (r"decoder\.text_guidance_proj\.(.+)", r"decoder.embed_text.\1"),
    (r"decoder\.text_guidance_positional_embedding", r"decoder.text_positions"),
    *VIT_RULES,
    *HEAD_RULES["pixels"],
)
MARKS = ("text_context_length", "text_embed_dim", "clustering_vq")  # keys that TiTok's configs lack


def convert(state: Mapping[str, "Tensor"], config: TatitokConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = rename_keys(state, RULES)
    ours["encoder.to_code.weight"] = ours["encoder.to_code.weight"].flatten(1)  # a 1x1 conv there, a linear map here
    return ours


def read_config(
    published: Mapping[str, Any],
    *,
    vit_sizes: Mapping[str, VitSize] = VIT_SIZES,
    pixel: MaskgitVqganConfig = MASKGIT_VQGAN_F16,
) -> TatitokConfig | None:
    """The sizes in the authors' config.json, or None if it is not one of TA-TiTok's.

    The model part of a continuous one may be a TiTok's word for word: the names of its files then tell them apart.
    """
    model = published.get("model", {}).get("vq_model")
    if not isinstance(model, Mapping):
        return None
    named = any("tatitok" in str(name) for name in published.get("experiment", {}).values())
    if not named and not any(mark in model for mark in MARKS):
        return None
    text = dict(text_length=model.get("text_context_length", 77), text_dim=model.get("text_embed_dim", 768))
    return TatitokConfig(**read_sizes(published, vit_sizes=vit_sizes, pixel=pixel), **text)


PROTOCOL = (
    "ImageNet val 50k, 256x256, guided by 'A photo of a CLASS.', authors' evaluator; README of bytedance/1d-tokenizer"
)


def _published(name: str, config: TatitokConfig, rfid: float, inception_score: float) -> Architecture:
    return Architecture(
        name=name,
        family="tatitok",
        model="tokzoo.tokenizers.tatitok.model:Tatitok",
        config=config,
        token_type="continuous" if config.bottleneck == "kl" else "discrete",
        paper="2501.07730",
        convert="tokzoo.tokenizers.tatitok.weights:convert",
        read_config="tokzoo.tokenizers.tatitok.weights:read_config",
        golden="tokzoo.tokenizers.tatitok.golden:run",
        weights=(
            Weights(
                tag="datacomp",
                sources=(
                    Source(repo=f"turkeyju/tokenizer_{name}", files=("model.safetensors", "pytorch_model.bin")),
                    Source(repo="fun-research/TA-TiTok", files=(f"{name}.bin",)),
                ),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(
                    Score(metric="rFID", value=rfid, protocol=PROTOCOL),
                    Score(metric="IS", value=inception_score, protocol=PROTOCOL),
                ),
                checked="manifest",
                note="The authors' README says: only for research purposes.",
            ),
        ),
    )


ARCHITECTURES = (
    _published("tatitok_bl32_vq", sizes.TATITOK_BL32_VQ, 3.95, 219.6),
    _published("tatitok_bl64_vq", sizes.TATITOK_BL64_VQ, 2.43, 218.8),
    _published("tatitok_bl128_vq", sizes.TATITOK_BL128_VQ, 1.53, 222.8),
    _published("tatitok_bl32_vae", sizes.TATITOK_BL32_VAE, 1.53, 222.0),
    _published("tatitok_bl64_vae", sizes.TATITOK_BL64_VAE, 1.47, 220.7),
    _published("tatitok_sl128_vae", sizes.TATITOK_SL128_VAE, 0.90, 227.7),
)
