"""Published weights of IBQ's generators, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys, under
from tokzoo.generators.gpt.config import GptConfig
from tokzoo.generators.gpt.weights import block_rules, sizes_of
from tokzoo.generators.ibq import config as sizes
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = (
    (r"class_emb\.embedding_table\.weight", r"condition_embed.weight"),
    (r"tok_emb\.weight", r"embed.weight"),
    *block_rules("blocks", "blocks"),
    (r"blocks\.(\d+)\.ada_lin\.1\.(.+)", r"blocks.\1.modulation.\2"),
    (r"head_nm\.rmsnorm\.weight", r"norm.weight"),
    (r"head_nm\.ada_lin\.1\.(.+)", r"norm.modulation.\1"),
    (r"head\.weight", r"head.weight"),
)


def convert(state: Mapping[str, "Tensor"], config: GptConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours; of a Lightning file, what lies under `transformer.`."""
    return rename_keys(under(state, "transformer.") or state, RULES)


def read_config(published: Mapping[str, Any]) -> GptConfig | None:
    """The sizes in the arguments of the authors' model, or None if they are not IBQ's."""
    if not {"n_layer", "n_head", "n_embd", "block_size", "class_num"} <= set(published):
        return None
    return GptConfig(
        codebook_size=published["vocab_size"],
        num_classes=published["class_num"],
        **sizes_of(published, width="n_embd"),
    )


def _published(
    size: str, config: GptConfig, gfid: float, inception: float, *, temperature: float, guidance: float
) -> Architecture:
    protocol = (
        f"ADM's evaluator on 50k samples at 256x256, guidance {guidance}, temperature {temperature}; README of "
        "TencentARC/SEED-Voken"
    )
    return Architecture(
        name=f"ibq_ar_{size}",
        family="ibq_gpt",
        kind="generator",
        model="tokzoo.generators.ibq.model:IbqGpt",
        config=config,
        token_type="discrete",
        paper="2412.02692",
        convert="tokzoo.generators.ibq.weights:convert",
        read_config="tokzoo.generators.ibq.weights:read_config",
        golden="tokzoo.generators.ibq.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(Source(repo=f"TencentARC/IBQ-AR-{size.upper()}", files=(f"AR_256_{size.upper()}.ckpt",)),),
                tokenizer="ibq_16384.in1k",
                sampling=dict(guidance=guidance, temperature=temperature),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(
                    Score(metric="gFID", value=gfid, protocol=protocol),
                    Score(metric="IS", value=inception, protocol=protocol),
                ),
                checked="manifest",
            ),
        ),
    )


ARCHITECTURES = (
    _published("b", sizes.IBQ_AR_B, 2.88, 254.73, temperature=1.1, guidance=2.25),
    _published("l", sizes.IBQ_AR_L, 2.45, 267.48, temperature=1.0, guidance=2.0),
    _published("xl", sizes.IBQ_AR_XL, 2.14, 278.99, temperature=1.15, guidance=2.35),
    _published("xxl", sizes.IBQ_AR_XXL, 2.05, 286.73, temperature=1.2, guidance=2.85),
)
