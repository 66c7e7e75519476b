"""Published weights of TiTok, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.maskgit_vqgan.config import MASKGIT_VQGAN_F16, MaskgitVqganConfig
from tokzoo.tokenizers.maskgit_vqgan.weights import CNN_RULES
from tokzoo.tokenizers.titok import config as sizes
from tokzoo.tokenizers.titok.config import VIT_SIZES, TitokConfig, VitSize

if TYPE_CHECKING:
    from torch import Tensor

VIT_RULES: Rules = (
    (r"(encoder|decoder)\.class_embedding", r"\1.class_token"),
    (r"(encoder|decoder)\.positional_embedding", r"\1.positions"),
    (r"(encoder|decoder)\.ln_pre\.(.+)", r"\1.norm_in.\2"),
    (r"(encoder|decoder)\.ln_post\.(.+)", r"\1.norm_out.\2"),
    (r"(encoder|decoder)\.transformer\.(\d+)\.ln_([12])\.(.+)", r"\1.blocks.\2.norm\3.\4"),
    (r"(encoder|decoder)\.transformer\.(\d+)\.attn\.in_proj_(weight|bias)", r"\1.blocks.\2.attn.qkv.\3"),
    (r"(encoder|decoder)\.transformer\.(\d+)\.attn\.out_proj\.(.+)", r"\1.blocks.\2.attn.proj.\3"),
    (r"(encoder|decoder)\.transformer\.(\d+)\.mlp\.c_fc\.(.+)", r"\1.blocks.\2.mlp.fc1.\3"),
    (r"(encoder|decoder)\.transformer\.(\d+)\.mlp\.c_proj\.(.+)", r"\1.blocks.\2.mlp.fc2.\3"),
    (r"latent_tokens", r"encoder.queries"),
    (r"encoder\.latent_token_positional_embedding", r"encoder.query_positions"),
    (r"encoder\.patch_embed\.(.+)", r"encoder.patch_embed.\1"),
    (r"encoder\.conv_out\.(.+)", r"encoder.to_code.\1"),
    (r"decoder\.latent_token_positional_embedding", r"decoder.code_positions"),
    (r"decoder\.decoder_embed\.(.+)", r"decoder.embed.\1"),
    (r"decoder\.mask_token", r"decoder.mask_token"),
    (r"quantize\.embedding\.weight", r"quantizer.codebook"),
)
HEAD_RULES: dict[str, Rules] = {
    "pixels": (
        (r"decoder\.ffn\.0\.(.+)", r"decoder.head.to_patch.\1"),
        (r"decoder\.conv_out\.(.+)", r"decoder.head.smooth.\1"),
    ),
    "code_logits": (
        (r"decoder\.ffn\.0\.(.+)", r"decoder.head.expand.\1"),
        (r"decoder\.ffn\.2\.(.+)", r"decoder.head.to_logits.\1"),
    ),
    "code_mixture": (
        (r"decoder\.ffn\.0\.(.+)", r"decoder.head.logits.expand.\1"),
        (r"decoder\.ffn\.2\.(.+)", r"decoder.head.logits.to_logits.\1"),
        (r"pixel_quantize\.embedding\.weight", r"decoder.head.codebook.weight"),
        (r"pixel_decoder\.(.+)", r"pixel.decoder.\1"),  # read on by the rules of MaskGIT's VQGAN
    ),
}


def convert(state: Mapping[str, "Tensor"], config: TitokConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = rename_keys(state, (*VIT_RULES, *HEAD_RULES[config.head]))
    ours["encoder.to_code.weight"] = ours["encoder.to_code.weight"].flatten(1)  # a 1x1 conv there, a linear map here
    pixel = {key.removeprefix("pixel."): ours.pop(key) for key in list(ours) if key.startswith("pixel.")}
    for key, tensor in rename_keys(pixel, CNN_RULES).items():
        ours[f"decoder.head.{key}"] = tensor
    return ours


def read_config(
    published: Mapping[str, Any],
    *,
    vit_sizes: Mapping[str, VitSize] = VIT_SIZES,
    pixel: MaskgitVqganConfig = MASKGIT_VQGAN_F16,
) -> TitokConfig | None:
    """The sizes in the authors' config.json, or None if it is not one of TiTok's.

    Raises:
        ValueError: a config of TiTok's that asks for what no published model has.
    """
    model = published.get("model", {}).get("vq_model")
    if not isinstance(model, Mapping) or "num_latent_tokens" not in model:
        return None
    if not model.get("strict_length_assertion", True):  # One-D-Piece, which has every other key of TiTok's
        return None
    return TitokConfig(**read_sizes(published, vit_sizes=vit_sizes, pixel=pixel))


def read_sizes(
    published: Mapping[str, Any], *, vit_sizes: Mapping[str, VitSize], pixel: MaskgitVqganConfig
) -> dict[str, Any]:
    """The fields of a TitokConfig in a config.json of TiTok's line of models."""
    model = published["model"]["vq_model"]
    if model["vit_enc_patch_size"] != model["vit_dec_patch_size"]:
        raise ValueError("encoder and decoder patches differ in size; no published TiTok does that")
    legacy, finetuned = model.get("is_legacy", True), model.get("finetune_decoder", True)
    is_kl = model.get("quantize_mode", "vq") == "vae"
    vq = {} if is_kl else dict(codebook_size=model["codebook_size"], normalize_codes=model["use_l2_norm"])
    return dict(
        image_size=published.get("dataset", {}).get("preprocessing", {}).get("crop_size", 256),
        patch_size=model["vit_enc_patch_size"],
        num_tokens=model["num_latent_tokens"],
        encoder=vit_sizes[model["vit_enc_model_size"]],
        decoder=vit_sizes[model["vit_dec_model_size"]],
        bottleneck="kl" if is_kl else "vq",
        code_dim=model["token_size"],
        head=("code_mixture" if finetuned else "code_logits") if legacy else "pixels",
        pixel=pixel,
        scrambled=legacy,
        **vq,
    )


RFID = "ImageNet val 50k, 256x256, authors' evaluator; README of bytedance/1d-tokenizer"


def _published(name: str, config: TitokConfig, hub: str, rfid: float) -> Architecture:
    return Architecture(
        name=name,
        family="titok",
        model="tokzoo.tokenizers.titok.model:Titok",
        config=config,
        token_type="continuous" if config.bottleneck == "kl" else "discrete",
        paper="2406.07550",
        convert="tokzoo.tokenizers.titok.weights:convert",
        read_config="tokzoo.tokenizers.titok.weights:read_config",
        golden="tokzoo.tokenizers.titok.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(
                    Source(repo=f"yucornetto/{hub}_imagenet", files=("model.safetensors", "pytorch_model.bin")),
                    Source(repo="fun-research/TiTok", files=(f"{hub}.bin", f"{name}.bin")),
                ),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(Score(metric="rFID", value=rfid, protocol=RFID),),
                checked="manifest",
                note="The authors' README speaks of research use.",
            ),
        ),
    )


ARCHITECTURES = (
    _published("titok_l32", sizes.TITOK_L32, "tokenizer_titok_l32", 2.21),
    _published("titok_b64", sizes.TITOK_B64, "tokenizer_titok_b64", 1.70),
    _published("titok_s128", sizes.TITOK_S128, "tokenizer_titok_s128", 1.71),
    _published("titok_bl64_vq8k", sizes.TITOK_BL64_VQ8K, "tokenizer_titok_bl64_vq8k", 2.06),
    _published("titok_bl128_vq8k", sizes.TITOK_BL128_VQ8K, "tokenizer_titok_bl128_vq8k", 1.49),
    _published("titok_sl256_vq8k", sizes.TITOK_SL256_VQ8K, "tokenizer_titok_sl256_vq8k", 1.03),
    _published("titok_ll32_vae_c16", sizes.TITOK_LL32_VAE_C16, "tokenizer_titok_ll32_vae_c16", 1.61),
    _published("titok_bl64_vae_c16", sizes.TITOK_BL64_VAE_C16, "tokenizer_titok_bl64_vae_c16", 1.25),
    _published("titok_bl128_vae_c16", sizes.TITOK_BL128_VAE_C16, "tokenizer_titok_bl128_vae_c16", 0.84),
    Architecture(
        name="titok_nano",
        family="titok",
        model="tokzoo.tokenizers.titok.model:Titok",
        config=sizes.TITOK_NANO,
        token_type="discrete",
        paper="2406.07550",
        weights=(Weights(tag="photos64", code_licence="Apache-2.0", licence="Apache-2.0", checked="weights"),),
    ),
)
