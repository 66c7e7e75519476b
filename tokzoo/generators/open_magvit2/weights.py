"""Published weights of Open-MAGVIT2's generators, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys, under
from tokzoo.generators.gpt.weights import block_rules, sizes_of
from tokzoo.generators.open_magvit2 import config as sizes
from tokzoo.generators.open_magvit2.config import OpenMagvit2ArConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = (
    (r"class_emb\.embedding_table\.weight", r"condition_embed.weight"),
    (r"pre_emb\.weight", r"embed.tables.0.weight"),
    (r"post_emb\.weight", r"embed.tables.1.weight"),
    *block_rules("spatial_blocks", "blocks"),
    *block_rules("factorized_blocks", "head.blocks"),
    (r"norm\.weight", r"head.norm.weight"),
    (r"head\.(\d+)\.weight", r"head.outputs.\1.weight"),
)


def convert(state: Mapping[str, "Tensor"], config: OpenMagvit2ArConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours; of a Lightning file, what lies under `transformer.`."""
    return rename_keys(under(state, "transformer.") or state, RULES)


def read_config(published: Mapping[str, Any]) -> OpenMagvit2ArConfig | None:
    """The sizes in the arguments of the authors' model, or None if they are not Open-MAGVIT2's."""
    if not {"spatial_n_layer", "factorized_n_layer", "factorized_bits", "class_num"} <= set(published):
        return None
    bits = tuple(published["factorized_bits"])
    return OpenMagvit2ArConfig(
        codebook_size=2 ** sum(bits),
        slot_bits=bits,
        slot_depth=published["factorized_n_layer"],
        num_classes=published["class_num"],
        **sizes_of(published, depth="spatial_n_layer"),
    )


def _published(
    size: str,
    config: OpenMagvit2ArConfig,
    gfid: float,
    inception: float,
    *,
    temperature: tuple[float, float],
    guidance: tuple[float, float],
) -> Architecture:
    protocol = (
        f"ADM's evaluator on 50k samples at 256x256, guidance {guidance}, temperature {temperature} of the two parts; "
        "README of TencentARC/SEED-Voken"
    )
    return Architecture(
        name=f"open_magvit2_ar_{size}",
        family="open_magvit2_gpt",
        kind="generator",
        model="tokzoo.generators.open_magvit2.model:OpenMagvit2Gpt",
        config=config,
        token_type="discrete",
        paper="2409.04410",
        convert="tokzoo.generators.open_magvit2.weights:convert",
        read_config="tokzoo.generators.open_magvit2.weights:read_config",
        golden="tokzoo.generators.open_magvit2.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(
                    Source(
                        repo=f"TencentARC/Open-MAGVIT2-AR-{size.upper()}-256-resolution",
                        files=(f"AR_256_{size.upper()}.ckpt",),
                    ),
                ),
                tokenizer="open_magvit2_256.in1k",
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
    _published("b", sizes.OPEN_MAGVIT2_AR_B, 3.08, 258.26, temperature=(1.0, 1.0), guidance=(1.9, 2.0)),
    _published("l", sizes.OPEN_MAGVIT2_AR_L, 2.51, 271.70, temperature=(1.1, 1.0), guidance=(1.9, 1.9)),
    _published("xl", sizes.OPEN_MAGVIT2_AR_XL, 2.33, 271.77, temperature=(1.1, 1.0), guidance=(1.75, 1.85)),
)
