"""Published weights of VAR, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.generators.var import config as sizes
from tokzoo.generators.var.config import VarConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = (
    (r"pos_start", r"start"),
    (r"pos_1LC", r"positions"),
    (r"word_embed\.(.+)", r"embed.\1"),
    (r"class_emb\.weight", r"condition_embed.weight"),
    (r"lvl_embed\.weight", r"scale_embed.weight"),
    (r"shared_ada_lin\.1\.(.+)", r"modulation.\1"),
    (r"blocks\.(\d+)\.attn\.scale_mul_1H11", r"blocks.\1.attn.log_scale"),
    (r"blocks\.(\d+)\.attn\.q_bias", r"blocks.\1.attn.query_bias"),
    (r"blocks\.(\d+)\.attn\.zero_k_bias", r"blocks.\1.attn.key_bias"),
    (r"blocks\.(\d+)\.attn\.v_bias", r"blocks.\1.attn.value_bias"),
    (r"blocks\.(\d+)\.attn\.mat_qkv\.weight", r"blocks.\1.attn.qkv.weight"),
    (r"blocks\.(\d+)\.attn\.proj\.(.+)", r"blocks.\1.attn.proj.\2"),
    (r"blocks\.(\d+)\.ffn\.fc([12])\.(.+)", r"blocks.\1.mlp.fc\2.\3"),
    (r"blocks\.(\d+)\.ada_lin\.1\.(.+)", r"blocks.\1.modulation.\2"),
    (r"blocks\.(\d+)\.ada_gss", r"blocks.\1.offset"),
    (r"head_nm\.ada_lin\.1\.(.+)", r"last_modulation.\1"),
    (r"head\.(weight|bias)", r"head.\1"),
    (r"lvl_1L|attn_bias_for_masking", None),  # tables of the scales
)


def convert(state: Mapping[str, "Tensor"], config: VarConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = rename_keys(state, RULES)
    for key, value in ours.items():
        if key.endswith(("start", "positions", "log_scale")):
            ours[key] = value.squeeze(0)  # a batch of one there
        elif key.endswith("offset"):
            ours[key] = value.flatten()
    return ours


def read_config(published: Mapping[str, Any]) -> VarConfig | None:
    """The sizes in the arguments of the authors' model, or None if they are not VAR's."""
    if not {"depth", "embed_dim", "patch_nums", "shared_aln"} <= set(published):
        return None
    return VarConfig(
        codebook_size=published.get("vocab_size", 4096),
        code_dim=published.get("Cvae", 32),
        scales=tuple(published["patch_nums"]),
        num_classes=published["num_classes"],
        width=published["embed_dim"],
        depth=published["depth"],
        num_heads=published["num_heads"],
        mlp_dim=round(published["embed_dim"] * published.get("mlp_ratio", 4.0)),
        shared_modulation=published["shared_aln"],
    )


def _published(depth: int, config: VarConfig, gfid: float, *, pixels: int = 256) -> Architecture:
    protocol = (
        f"ADM's evaluator on 50k samples at {pixels}x{pixels}, 50 of each class, guidance growing to 2.5, top_k 900, "
        "top_p 0.96; README of FoundationVision/VAR"
    )
    return Architecture(
        name=f"var_d{depth}",
        family="var",
        kind="generator",
        model="tokzoo.generators.var.model:Var",
        config=config,
        token_type="discrete",
        paper="2404.02905",
        convert="tokzoo.generators.var.weights:convert",
        read_config="tokzoo.generators.var.weights:read_config",
        golden="tokzoo.generators.var.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(Source(repo="FoundationVision/var", files=(f"var_d{depth}.pth",)),),
                tokenizer="var_vqvae.openimages" if pixels == 256 else "var_vqvae_512.openimages",
                # the authors' 1.5, c + s (c - u), growing from 0
                sampling=dict(guidance=2.5, guidance_schedule="linear", top_k=900, top_p=0.96),
                code_licence="MIT",
                licence="MIT",
                scores=(Score(metric="gFID", value=gfid, protocol=protocol),),
                checked="manifest",
            ),
        ),
    )


ARCHITECTURES = (
    _published(16, sizes.VAR_D16, 3.55),
    _published(20, sizes.VAR_D20, 2.95),
    _published(24, sizes.VAR_D24, 2.33),
    _published(30, sizes.VAR_D30, 1.97),
    _published(36, sizes.VAR_D36, 2.63, pixels=512),
)
