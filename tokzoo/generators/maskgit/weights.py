"""Published weights of MaskGITs on one-dimensional tokens, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.generators.maskgit import config as sizes
from tokzoo.generators.maskgit.config import MaskgitConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from tokzoo.generators.sampling import Schedule

SCHEDULES: dict[str, tuple[float, "Schedule"]] = {
    # the authors' names -> what their scale lacks of ours, u + s (c - u), and our name
    "constant": (1.0, "constant"),
    "linear": (1.0, "linear"),
    "power-cosine": (0.0, "power_cosine"),
}
LAYER = r"model\.encoder\.layer\.(\d+)\."
RULES: dict[str, Rules] = {
    "bert": (
        (r"model\.embeddings\.word_embeddings\.weight", r"embed.weight"),
        (r"model\.embeddings\.position_embeddings\.weight", r"positions"),
        (r"model\.embeddings\.token_type_embeddings\.weight", r"types"),  # added to the positions
        (r"model\.embeddings\.LayerNorm\.(.+)", r"backbone.norm_in.\1"),
        (LAYER + r"attention\.self\.(query|key|value)\.(.+)", r"backbone.blocks.\1.attn.\2.\3"),  # fused below
        (LAYER + r"attention\.output\.dense\.(.+)", r"backbone.blocks.\1.attn.proj.\2"),
        (LAYER + r"attention\.output\.LayerNorm\.(.+)", r"backbone.blocks.\1.norm1.\2"),
        (LAYER + r"intermediate\.dense\.(.+)", r"backbone.blocks.\1.mlp.fc1.\2"),
        (LAYER + r"output\.dense\.(.+)", r"backbone.blocks.\1.mlp.fc2.\2"),
        (LAYER + r"output\.LayerNorm\.(.+)", r"backbone.blocks.\1.norm2.\2"),
        (r"model\.lm_head\.(.+)", r"head.\1"),
        (r"model\.embeddings\.position_ids", None),  # a table of numbers, in old files
    ),
    "uvit": (
        (r"pos_embed", r"positions"),
        (r"embeddings\.weight", r"embed.weight"),
        (r"in_blocks\.(\d+)\.(.+)", r"backbone.first.\1.\2"),
        (r"mid_block\.(.+)", r"backbone.middle.0.\1"),
        (r"out_blocks\.(\d+)\.skip_linear\.(.+)", r"backbone.skips.\1.\2"),
        (r"out_blocks\.(\d+)\.(.+)", r"backbone.second.\1.\2"),
        (r"norm\.(.+)", r"backbone.norm.\1"),
        (r"lm_head\.(.+)", r"head.\1"),
    ),
}


def convert(state: Mapping[str, "Tensor"], config: MaskgitConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    import torch

    ours = rename_keys(state, RULES[config.backbone])
    if config.backbone == "uvit":
        ours["positions"] = ours["positions"].squeeze(0)  # a batch of one there
        return ours
    ours["positions"] = ours["positions"] + ours.pop("types")[0]  # every token is of the first type
    for layer in range(config.depth):
        attention = f"backbone.blocks.{layer}.attn"
        for kind in ("weight", "bias"):
            parts = [ours.pop(f"{attention}.{part}.{kind}") for part in ("query", "key", "value")]
            ours[f"{attention}.qkv.{kind}"] = torch.cat(parts)
    return ours


def read_config(published: Mapping[str, Any]) -> MaskgitConfig | None:
    """The sizes in the authors' config.json, or None if it is no MaskGIT's of TiTok's line."""
    whole = published.get("model", published)
    model = whole.get("generator")
    if not isinstance(model, Mapping) or model.get("model_type") not in ("ViT", "UViT"):
        return None
    return MaskgitConfig(
        codebook_size=whole["codebook_size"] if "codebook_size" in whole else whole["vq_model"]["codebook_size"],
        num_tokens=model["image_seq_len"],
        num_classes=model["condition_num_classes"],
        backbone="bert" if model["model_type"] == "ViT" else "uvit",
        width=model["hidden_size"],
        depth=model["num_hidden_layers"],
        num_heads=model["num_attention_heads"],
        mlp_dim=model["intermediate_size"],
    )


def _published(
    name: str,
    config: MaskgitConfig,
    sources: tuple[Source, ...],
    readme: str,
    gfid: float,
    *,
    steps: int,
    temperature: float,
    scale: float,
    decay: str,
    paper: str = "2406.07550",
    note: str = "",
) -> Architecture:
    offset, schedule = SCHEDULES[decay]
    protocol = (
        f"ADM's evaluator on 50k samples at 256x256, {steps} steps, {schedule} guidance {scale + offset}, temperature "
        f"{temperature}; README of {readme}"
    )
    return Architecture(
        name=f"maskgit_{name}",
        family="maskgit",
        kind="generator",
        model="tokzoo.generators.maskgit.model:Maskgit",
        config=config,
        token_type="discrete",
        paper=paper,
        convert="tokzoo.generators.maskgit.weights:convert",
        read_config="tokzoo.generators.maskgit.weights:read_config",
        golden="tokzoo.generators.maskgit.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=sources,
                tokenizer=f"{name}.in1k",
                sampling=dict(
                    num_steps=steps,
                    guidance=scale + offset,
                    guidance_schedule=schedule,
                    temperature=temperature,
                    annealed=True,
                ),
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                scores=(Score(metric="gFID", value=gfid, protocol=protocol),),
                checked="manifest",
                note=note,
            ),
        ),
    )


def _titok(name: str, config: MaskgitConfig, gfid: float, **knobs: Any) -> Architecture:
    sources = (
        Source(repo=f"yucornetto/generator_{name}_imagenet", files=("model.safetensors", "pytorch_model.bin")),
        Source(repo="fun-research/TiTok", files=(f"generator_{name}.bin",)),
    )
    note = "The authors' README speaks of research use."
    return _published(name, config, sources, "bytedance/1d-tokenizer", gfid, note=note, **knobs)


def _one_d_piece(size: str, gfid: float, **knobs: Any) -> Architecture:
    repo = f"turing-motors/MaskGIT_One-D-Piece-{size.upper()}-256"
    sources = (Source(repo=repo, files=("model.safetensors", "pytorch_model.bin")),)
    note = "Whether logits were annealed for the published score is not stated."
    return _published(
        f"one_d_piece_{size}256",
        sizes.ONE_D_PIECE,
        sources,
        "turingmotors/One-D-Piece",
        gfid,
        steps=16,
        decay="power-cosine",
        paper="2501.10064",
        note=note,
        **knobs,
    )


ARCHITECTURES = (
    _titok("titok_l32", sizes.TITOK_L32, 2.77, steps=8, temperature=9.5, scale=4.5, decay="linear"),
    _titok("titok_b64", sizes.TITOK_B64, 2.48, steps=8, temperature=11.0, scale=3.0, decay="linear"),
    _titok("titok_s128", sizes.TITOK_S128, 1.97, steps=64, temperature=2.8, scale=6.9, decay="power-cosine"),
    _one_d_piece("s", 2.67, temperature=3.0, scale=12.5),
    _one_d_piece("b", 2.70, temperature=2.5, scale=8.5),
    _one_d_piece("l", 2.35, temperature=3.0, scale=5.5),
)
