"""Published weights of TokenBridge, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules
from tokzoo.generators.mar.weights import backbone_fields, rename_backbone
from tokzoo.generators.tokenbridge import config as sizes
from tokzoo.generators.tokenbridge.config import TokenBridgeConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

HEAD_RULES: Rules = (
    (r"condition_proj\.(.+)", r"head.condition.\1"),
    (r"channel_embed", r"head.positions"),
    (r"timesteps_embeddings", r"head.steps"),
    (r"token_embeddings\.(\d+)\.weight", r"head.embed.\1"),  # stacked below
    (r"channel_blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(.+)", r"head.blocks.\1.\2.\3"),
    (r"channel_blocks\.(\d+)\.attn\.q_norm\.(.+)", r"head.blocks.\1.attn.query_norm.\2"),
    (r"channel_blocks\.(\d+)\.attn\.k_norm\.(.+)", r"head.blocks.\1.attn.key_norm.\2"),
    (r"channel_blocks\.(\d+)\.adaLN_modulation\.1\.(.+)", r"head.blocks.\1.modulation.\2"),
    (r"channel_norm\.(.+)", r"head.norm.\1"),
    (r"channel_final\.adaLN_modulation\.1\.(.+)", r"head.modulation.\1"),
    (r"channel_heads\.(\d+)\.weight", r"head.out.\1"),
    (r"channel_heads\.(\d+)\.bias", r"head.out_bias.\1"),
    (r"channel_mask|reconstruction_values|boundaries", None),  # formulas, and absent from the averaged weights
)


def convert(state: Mapping[str, "Tensor"], config: TokenBridgeConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    import torch

    ours = rename_backbone(state, HEAD_RULES)
    for key in ("head.positions", "head.steps"):
        ours[key] = ours[key].squeeze(0)  # a batch of one there
    for key, count in (
        ("head.embed", config.channels - 1),
        ("head.out", config.channels),
        ("head.out_bias", config.channels),
    ):
        ours[key] = torch.stack([ours.pop(f"{key}.{channel}") for channel in range(count)])
    return ours


def read_config(published: Mapping[str, Any]) -> TokenBridgeConfig | None:
    """The sizes in the names of the authors' constructor, or None if it is no TokenBridge."""
    if not {"channel_embed_dim", "channel_depth", "quant_levels"} <= set(published):
        return None
    return TokenBridgeConfig(
        **backbone_fields(published),
        num_levels=published["quant_levels"],
        head_width=published["channel_embed_dim"],
        head_depth=published["channel_depth"],
        head_heads=published["channel_heads"],
    )


def _published(size: str, config: TokenBridgeConfig, weights: tuple[Weights, ...]) -> Architecture:
    return Architecture(
        name=f"tokenbridge_{size}",
        family="tokenbridge",
        kind="generator",
        model="tokzoo.generators.tokenbridge.model:TokenBridge",
        config=config,
        token_type="discrete",
        paper="2503.16430",
        convert="tokzoo.generators.tokenbridge.weights:convert",
        read_config="tokzoo.generators.tokenbridge.weights:read_config",
        averaged="model_ema",
        golden="tokzoo.generators.tokenbridge.golden:run",
        weights=weights,
    )


def _weights(long: str, gfid: float, inception: float, *, guidance: float, temperature: float) -> tuple[Weights, ...]:
    protocol = (
        f"ADM's evaluator on 50k samples at 256x256, 50 of each class, 256 steps, guidance {guidance} growing "
        f"linearly, temperature {temperature}; README of YuqingWang1029/TokenBridge"
    )
    return (
        Weights(
            tag="in1k",
            sources=(
                Source(repo="Epiphqny/TokenBridge", files=(f"tokenbridge/tokenbridge_{long}/checkpoint-last.pth",)),
            ),
            tokenizer="tokenbridge_kl16.in1k",
            sampling=dict(num_steps=256, guidance=guidance, guidance_schedule="linear", temperature=temperature),
            code_licence="MIT",
            licence="all rights reserved",  # none is stated
            scores=(
                Score(metric="gFID", value=gfid, protocol=protocol),
                Score(metric="IS", value=inception, protocol=protocol),
            ),
            checked="manifest",
            note="The authors computed in half precision; they state no licence of the weights.",
        ),
    )


ARCHITECTURES = (
    _published("b", sizes.TOKENBRIDGE_B, ()),  # its weights were not published
    _published("l", sizes.TOKENBRIDGE_L, _weights("large", 1.76, 294.8, guidance=3.1, temperature=0.96)),
    _published("h", sizes.TOKENBRIDGE_H, _weights("huge", 1.55, 313.3, guidance=3.45, temperature=0.91)),
)
