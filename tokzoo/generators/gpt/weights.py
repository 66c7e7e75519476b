"""Published weights of LlamaGen's GPT, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.generators.gpt.config import SIZES, GptConfig, on_grid
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor


def block_rules(theirs: str, ours: str) -> Rules:
    """Of the blocks of LlamaGen's code, which others build on; `theirs` and `ours`: the lists that hold them."""
    return (
        (rf"{theirs}\.(\d+)\.attention\.wqkv\.weight", rf"{ours}.\1.attn.qkv.weight"),
        (rf"{theirs}\.(\d+)\.attention\.wo\.weight", rf"{ours}.\1.attn.proj.weight"),
        (rf"{theirs}\.(\d+)\.feed_forward\.w([123])\.weight", rf"{ours}.\1.mlp.fc\2.weight"),
        (rf"{theirs}\.(\d+)\.attention_norm\.weight", rf"{ours}.\1.norm1.weight"),
        (rf"{theirs}\.(\d+)\.ffn_norm\.weight", rf"{ours}.\1.norm2.weight"),
    )


RULES: Rules = (
    (r"cls_embedding\.embedding_table\.weight", r"condition_embed.weight"),
    (r"cls_embedding\.uncond_embedding", r"condition_embed.null"),
    (r"cls_embedding\.cap_proj\.fc([12])\.weight", r"condition_embed.fc\1.weight"),
    (r"tok_embeddings\.weight", r"embed.weight"),
    *block_rules("layers", "blocks"),
    (r"norm\.weight", r"norm.weight"),
    (r"output\.weight", r"head.weight"),
    (r"freqs_cis|causal_mask", None),  # tables, in old files
)


def convert(state: Mapping[str, "Tensor"], config: GptConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    return rename_keys(state, RULES)


def read_config(published: Mapping[str, Any]) -> GptConfig | None:
    """The sizes in the arguments of the authors' model, or None if they are not LlamaGen's."""
    if not {"n_layer", "n_head", "block_size", "dim"} <= set(published):
        return None
    condition_tokens = published.get("cls_token_num", 1)
    return GptConfig(
        codebook_size=published.get("vocab_size", 16384),
        num_classes=published.get("num_classes", 1000),
        text_tokens=condition_tokens if condition_tokens > 1 else 0,
        text_dim=published.get("caption_dim", 2048),
        **sizes_of(published),
    )


def sizes_of(published: Mapping[str, Any], *, width: str = "dim", depth: str = "n_layer") -> dict[str, Any]:
    """What all who build on LlamaGen's code say of a model; `width` and `depth` are what they call these."""
    side = round(published["block_size"] ** 0.5)
    return dict(
        num_tokens=published["block_size"],
        grid=(side, side),
        width=published[width],
        depth=published[depth],
        num_heads=published["n_head"],
        multiple_of=published.get("multiple_of", 256),
    )


def _architecture(name: str, config: GptConfig, *weights: Weights) -> Architecture:
    return Architecture(
        name=name,
        family="llamagen_gpt",
        kind="generator",
        model="tokzoo.generators.gpt.model:Gpt",
        config=config,
        token_type="discrete",
        paper="2406.06525",
        convert="tokzoo.generators.gpt.weights:convert",
        read_config="tokzoo.generators.gpt.weights:read_config",
        golden="tokzoo.generators.gpt.golden:run",
        weights=weights,
    )


def _published(size: str, pixels: int, gfid: float, guidance: float) -> Architecture:
    protocol = (
        f"ADM's evaluator on 50k samples made at {pixels}x{pixels} and resized to 256x256, guidance {guidance}, "
        "temperature 1, all tokens; README of FoundationVision/LlamaGen"
    )
    return _architecture(
        f"llamagen_gpt_{size}_{pixels}",
        on_grid(size, pixels // 16),
        Weights(
            tag="in1k",
            sources=(Source(repo="FoundationVision/LlamaGen", files=(f"c2i_{size.upper()}_{pixels}.pt",)),),
            tokenizer="llamagen_vq16.in1k",
            sampling=dict(guidance=guidance),
            code_licence="MIT",
            licence="MIT",
            scores=(Score(metric="gFID", value=gfid, protocol=protocol),),
            checked="manifest",
        ),
    )


def _from_text(pixels: int, file: str, tag: str) -> Architecture:
    return _architecture(
        f"llamagen_gpt_xl_t2i_{pixels}",
        on_grid("xl", pixels // 16, text_tokens=120),
        Weights(
            tag=tag,
            sources=(Source(repo="peizesun/llamagen_t2i", files=(file,)),),
            tokenizer="llamagen_vq16.t2i",
            sampling=dict(guidance=7.5),
            code_licence="MIT",
            licence="MIT",
            checked="manifest",
            note="Reads the last hidden states of flan-t5-xl, 120 tokens padded on the left.",
        ),
    )


ARCHITECTURES = (
    _published("b", 256, 5.46, 2.0),
    _published("b", 384, 6.09, 2.0),
    _published("l", 256, 3.80, 2.0),
    _published("l", 384, 3.07, 2.0),
    _published("xl", 384, 2.62, 1.75),
    _published("xxl", 384, 2.34, 1.75),
    _published("3b", 384, 2.18, 1.65),
    _from_text(256, "t2i_XL_stage1_256.pt", "stage1"),
    _from_text(512, "t2i_XL_stage2_512.pt", "stage2"),
    *(_architecture(f"gpt_{size}", on_grid(size, 16)) for size in SIZES),
)
