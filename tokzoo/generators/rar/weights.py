"""Published weights of RAR, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.generators.rar import config as sizes
from tokzoo.generators.rar.config import RarConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = (
    (r"cls_token", r"start"),
    (r"pos_embed", r"positions"),
    (r"target_aware_pos_embed", r"target_positions"),
    (r"timesteps_embeddings", r"steps"),
    (r"embeddings\.weight", r"embed.weight"),
    (r"blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(.+)", r"blocks.\1.\2.\3"),
    (r"blocks\.(\d+)\.attn\.q_norm\.(.+)", r"blocks.\1.attn.query_norm.\2"),
    (r"blocks\.(\d+)\.attn\.k_norm\.(.+)", r"blocks.\1.attn.key_norm.\2"),
    (r"blocks\.(\d+)\.adaLN_modulation\.1\.(.+)", r"blocks.\1.modulation.\2"),
    (r"adaln_before_head\.adaLN_modulation\.1\.(.+)", r"modulation.\1"),
    (r"lm_head\.(.+)", r"head.\1"),
    (r"attn_mask", None),
)


def convert(state: Mapping[str, "Tensor"], config: RarConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = rename_keys(state, RULES)
    for key in ("start", "positions", "target_positions", "steps"):
        ours[key] = ours[key].squeeze(0)  # a batch of one there
    ours["start"] = ours["start"].squeeze(0)
    return ours


def read_config(published: Mapping[str, Any]) -> RarConfig | None:
    """The sizes in the authors' config, or None if it is not RAR's."""
    model = published.get("generator", published)
    if "image_seq_len" not in model or "model_type" in model or "condition_num_classes" not in model:
        return None
    length = model["image_seq_len"]
    side = round(length**0.5)
    return RarConfig(
        codebook_size=published.get("codebook_size", 1024),
        num_tokens=length,
        grid=(side, side),
        num_classes=model["condition_num_classes"],
        width=model["hidden_size"],
        depth=model["num_hidden_layers"],
        num_heads=model["num_attention_heads"],
        mlp_dim=model["intermediate_size"],
    )


PROTOCOL = (
    "ADM's evaluator on 50k samples at 256x256, 50 of each class, guidance {guidance} growing with power {power}, "
    "temperature {temperature}; arXiv:2411.00776, table 4"
)


def _published(
    size: str, config: RarConfig, gfid: float, inception: float, *, guidance: float, power: float, temperature: float
) -> Architecture:
    protocol = PROTOCOL.format(guidance=guidance, power=power, temperature=temperature)
    return Architecture(
        name=f"rar_{size}",
        family="rar",
        kind="generator",
        model="tokzoo.generators.rar.model:Rar",
        config=config,
        token_type="discrete",
        paper="2411.00776",
        convert="tokzoo.generators.rar.weights:convert",
        read_config="tokzoo.generators.rar.weights:read_config",
        golden="tokzoo.generators.rar.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(Source(repo="yucornetto/RAR", files=(f"rar_{size}.bin",)),),
                tokenizer="maskgit_vqgan_f16.in1k",
                sampling=dict(
                    guidance=guidance,
                    guidance_schedule="power_cosine",
                    guidance_power=power,
                    temperature=temperature,
                ),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(
                    Score(metric="gFID", value=gfid, protocol=protocol),
                    Score(metric="IS", value=inception, protocol=protocol),
                ),
                checked="manifest",
                note="The authors' README speaks of research use.",
            ),
        ),
    )


ARCHITECTURES = (
    _published("b", sizes.RAR_B, 1.95, 290.5, guidance=16.0, power=2.75, temperature=1.0),
    _published("l", sizes.RAR_L, 1.70, 299.5, guidance=15.5, power=2.5, temperature=1.02),
    _published("xl", sizes.RAR_XL, 1.50, 306.9, guidance=6.9, power=1.5, temperature=1.02),
    _published("xxl", sizes.RAR_XXL, 1.48, 326.0, guidance=8.0, power=1.2, temperature=1.02),
)
