"""Published weights of MaskGen, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.generators.mar.weights import HEAD_RULES
from tokzoo.generators.maskgen import config as sizes
from tokzoo.generators.maskgen.config import MaskgenKlConfig, MaskgenVqConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = r"(?:decoder_)?blocks\.(\d+)\."
JOINT = {  # diffusers' names of a block's two streams -> ours; queries, keys and values are fused below
    "image": dict(modulation="norm1", q="attn.to_q", k="attn.to_k", v="attn.to_v", proj="attn.to_out.0", mlp="ff"),
    "text": dict(
        modulation="norm1_context",
        q="attn.add_q_proj",
        k="attn.add_k_proj",
        v="attn.add_v_proj",
        proj="attn.to_add_out",
        mlp="ff_context",
    ),
}
JOINT_RULES: Rules = tuple(
    rule
    for stream, names in JOINT.items()
    for rule in (
        (rf"{BLOCK}{names['modulation']}\.linear\.(.+)", rf"blocks.\1.{stream}.modulation.\2"),
        (rf"{BLOCK}{names['q']}\.(.+)", rf"blocks.\1.{stream}.qkv.0.\2"),
        (rf"{BLOCK}{names['k']}\.(.+)", rf"blocks.\1.{stream}.qkv.1.\2"),
        (rf"{BLOCK}{names['v']}\.(.+)", rf"blocks.\1.{stream}.qkv.2.\2"),
        (rf"{BLOCK}{names['proj']}\.(.+)", rf"blocks.\1.{stream}.proj.\2"),
        (rf"{BLOCK}{names['mlp']}\.net\.0\.proj\.(.+)", rf"blocks.\1.{stream}.mlp.fc1.\2"),
        (rf"{BLOCK}{names['mlp']}\.net\.2\.(.+)", rf"blocks.\1.{stream}.mlp.fc2.\2"),
    )
)
VQ_RULES: Rules = (
    (r"pos_embed", r"positions"),
    (r"embeddings\.weight", r"embed.weight"),
    (r"lm_head\.weight", r"tied"),
    (r"text_embed_proj\.(.+)", r"transformer.text.\1"),
    (r"cond_pooled_proj\.(.+)", r"transformer.pooled.\1"),
    (r"norm\.linear\.(.+)", r"transformer.modulation.\1"),
    *((pattern, f"transformer.{ours}") for pattern, ours in JOINT_RULES),
)
KL_RULES: Rules = (
    (r"decoder_pos_embed_learned", r"backbone.positions"),
    (r"diffusion_pos_embed_learned", r"backbone.output_positions"),
    (r"mask_token", r"backbone.mask_token"),
    (r"z_proj\.(.+)", r"backbone.embed.\1"),
    (r"z_proj_ln\.(.+)", r"backbone.norm_in.\1"),
    (r"text_emb\.(.+)", r"backbone.transformer.text.\1"),
    (r"text_pooled_emb\.(.+)", r"backbone.transformer.pooled.\1"),
    (r"decoder_norm\.linear\.(.+)", r"backbone.transformer.modulation.\1"),
    *((pattern, f"backbone.transformer.{ours}") for pattern, ours in JOINT_RULES),
    *HEAD_RULES,
)


def convert(state: Mapping[str, "Tensor"], config: MaskgenVqConfig | MaskgenKlConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    import torch

    discrete = isinstance(config, MaskgenVqConfig)
    ours = rename_keys(state, VQ_RULES if discrete else KL_RULES)
    if discrete and "tied" in ours:  # one tensor under two names, of which a file may hold either or both
        ours["embed.weight"] = ours.pop("tied")
    for key in [key for key in ours if key.endswith(("positions", "mask_token"))]:
        ours[key] = ours[key].squeeze(0)  # a batch of one there
    if not discrete:
        ours["backbone.mask_token"] = ours["backbone.mask_token"].squeeze(0)
    for key in [key for key in ours if ".qkv.0." in key]:
        parts = [ours.pop(key.replace(".qkv.0.", f".qkv.{number}.")) for number in range(3)]
        ours[key.replace(".qkv.0.", ".qkv.")] = torch.cat(parts)
    return ours


def read_config(published: Mapping[str, Any]) -> MaskgenVqConfig | MaskgenKlConfig | None:
    """The sizes in the authors' config.json, or None if it is no MaskGen's."""
    whole = published.get("model", published)
    if not isinstance(whole, Mapping) or not {"vq_model", "maskgen"} <= set(whole):
        return None
    tokens, model = whole["vq_model"], whole["maskgen"]
    common = dict(
        num_tokens=tokens["num_latent_tokens"],
        text_dim=tokens.get("text_embed_dim", 768),
        score_dim=model["micro_condition_embed_dim"],
        width=model["decoder_embed_dim"],
        depth=model["decoder_depth"],
        num_heads=model["decoder_num_heads"],
    )
    if "codebook_size" in tokens:
        return MaskgenVqConfig(
            codebook_size=tokens["codebook_size"], num_classes=model["condition_num_classes"], **common
        )
    return MaskgenKlConfig(
        channels=tokens["token_size"],
        scale=tokens["scale_factor"],
        head_width=published["losses"]["diffloss_w"],
        head_depth=published["losses"]["diffloss_d"],
        **common,
    )


def _published(
    name: str,
    config: MaskgenVqConfig | MaskgenKlConfig,
    tokenizer: str,
    fid: float,
    geneval: float,
    sampling: Mapping[str, Any],
) -> Architecture:
    discrete = isinstance(config, MaskgenVqConfig)
    source = "README_MaskGen.md of bytedance/1d-tokenizer"
    return Architecture(
        name=name,
        family="maskgen",
        kind="generator",
        model=f"tokzoo.generators.maskgen.model:{'MaskgenVq' if discrete else 'MaskgenKl'}",
        config=config,
        token_type="discrete" if discrete else "continuous",
        paper="2501.07730",
        convert="tokzoo.generators.maskgen.weights:convert",
        read_config="tokzoo.generators.maskgen.weights:read_config",
        golden="tokzoo.generators.maskgen.golden:run",
        weights=(
            Weights(
                tag="open",
                sources=(
                    Source(repo=f"turkeyju/generator_{name}", files=("model.safetensors", "pytorch_model.bin")),
                    Source(repo="fun-research/TA-TiTok", files=(f"{name}.bin",)),
                ),
                tokenizer=tokenizer,
                sampling=sampling,
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(
                    Score(metric="FID", value=fid, protocol=f"MJHQ-30K, 256x256; {source}"),
                    Score(metric="GenEval", value=geneval, protocol=source),
                ),
                checked="manifest",
                note="Trained on open data sets. Reads CLIP ViT-L/14 at 336 pixels; the authors' README: for research.",
            ),
        ),
    )


# the authors' 12, c + s (c - u)
VQ_SAMPLING = dict(
    num_steps=16, guidance=13.0, guidance_schedule="power_cosine", guidance_power=1.0, temperature=2.0, annealed=True
)
KL_SAMPLING = dict(num_steps=32, guidance=3.0, guidance_schedule="linear")

ARCHITECTURES = (
    _published("maskgen_vq_l", sizes.MASKGEN_VQ_L, "tatitok_bl128_vq.datacomp", 7.74, 0.53, VQ_SAMPLING),
    _published("maskgen_vq_xl", sizes.MASKGEN_VQ_XL, "tatitok_bl128_vq.datacomp", 7.51, 0.57, VQ_SAMPLING),
    _published("maskgen_kl_l", sizes.MASKGEN_KL_L, "tatitok_bl32_vae.datacomp", 7.24, 0.52, KL_SAMPLING),
    _published("maskgen_kl_xl", sizes.MASKGEN_KL_XL, "tatitok_bl32_vae.datacomp", 6.53, 0.55, KL_SAMPLING),
)
