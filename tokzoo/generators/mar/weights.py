"""Published weights of MAR, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.generators.mar import config as sizes
from tokzoo.generators.mar.config import MarConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

BACKBONE_RULES: Rules = (
    (r"class_emb\.weight", r"backbone.classes.weight"),
    (r"fake_latent", r"no_class"),  # the last row of the classes
    (r"z_proj\.(.+)", r"backbone.embed.\1"),
    (r"z_proj_ln\.(.+)", r"backbone.norm_in.\1"),
    (r"encoder_pos_embed_learned", r"backbone.positions"),
    (r"decoder_pos_embed_learned", r"backbone.decoder_positions"),
    (r"(?:diffusion_pos_embed_learned|output_pos_embed)", r"backbone.output_positions"),
    (r"(encoder|decoder)_blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(.+)", r"backbone.\1.\2.\3.\4"),
    (r"(encoder|decoder)_norm\.(.+)", r"backbone.\1_norm.\2"),
    (r"decoder_embed\.(.+)", r"backbone.to_decoder.\1"),
    (r"mask_token", r"backbone.mask_token"),
)
HEAD_RULES: Rules = (
    (r"diffloss\.net\.time_embed\.mlp\.0\.(.+)", r"head.time.fc1.\1"),
    (r"diffloss\.net\.time_embed\.mlp\.2\.(.+)", r"head.time.fc2.\1"),
    (r"diffloss\.net\.cond_embed\.(.+)", r"head.condition.\1"),
    (r"diffloss\.net\.input_proj\.(.+)", r"head.embed.\1"),
    (r"diffloss\.net\.res_blocks\.(\d+)\.in_ln\.(.+)", r"head.blocks.\1.norm.\2"),
    (r"diffloss\.net\.res_blocks\.(\d+)\.mlp\.0\.(.+)", r"head.blocks.\1.fc1.\2"),
    (r"diffloss\.net\.res_blocks\.(\d+)\.mlp\.2\.(.+)", r"head.blocks.\1.fc2.\2"),
    (r"diffloss\.net\.res_blocks\.(\d+)\.adaLN_modulation\.1\.(.+)", r"head.blocks.\1.modulation.\2"),
    (r"diffloss\.net\.final_layer\.linear\.(.+)", r"head.out.\1"),
    (r"diffloss\.net\.final_layer\.adaLN_modulation\.1\.(.+)", r"head.modulation.\1"),
)


def rename_backbone(state: Mapping[str, "Tensor"], head: Rules) -> dict[str, "Tensor"]:
    """The keys of MAR's backbone, and of a head by its rules, as ours."""
    import torch

    ours = rename_keys(state, (*BACKBONE_RULES, *head))
    for key in ("positions", "decoder_positions", "output_positions", "mask_token"):
        ours[f"backbone.{key}"] = ours[f"backbone.{key}"].squeeze(0)  # a batch of one there
    ours["backbone.mask_token"] = ours["backbone.mask_token"].squeeze(0)
    ours["backbone.classes.weight"] = torch.cat([ours["backbone.classes.weight"], ours.pop("no_class")])
    return ours


def convert(state: Mapping[str, "Tensor"], config: MarConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    return rename_backbone(state, HEAD_RULES)


def backbone_fields(published: Mapping[str, Any]) -> dict[str, Any]:
    """What the authors' names say of the backbone, in ours."""
    side = published["img_size"] // published["vae_stride"] // published["patch_size"]
    if (published["encoder_depth"], published["encoder_num_heads"]) != (
        published["decoder_depth"],
        published["decoder_num_heads"],
    ):
        raise ValueError("encoder and decoder must have as many blocks and heads; no published one differs")
    return dict(
        channels=published["vae_embed_dim"] * published["patch_size"] ** 2,
        num_tokens=side**2,
        grid=(side, side),
        num_classes=published["class_num"],
        width=published["encoder_embed_dim"],
        decoder_width=published["decoder_embed_dim"],
        depth=published["encoder_depth"],
        num_heads=published["encoder_num_heads"],
        num_buffers=published["buffer_size"],
    )


def read_config(published: Mapping[str, Any]) -> MarConfig | None:
    """The sizes in the names of the authors' constructor, or None if it is no MAR."""
    if not {"diffloss_d", "diffloss_w", "buffer_size"} <= set(published):
        return None
    return MarConfig(
        **backbone_fields(published), head_width=published["diffloss_w"], head_depth=published["diffloss_d"]
    )


def _published(size: str, long: str, config: MarConfig, gfid: float, inception: float, guidance: float) -> Architecture:
    protocol = (
        f"ADM's evaluator on 50k samples at 256x256, 50 of each class, 256 steps, guidance {guidance} growing "
        "linearly, 100 diffusion steps; README of LTH14/mar"
    )
    return Architecture(
        name=f"mar_{size}",
        family="mar",
        kind="generator",
        model="tokzoo.generators.mar.model:Mar",
        config=config,
        token_type="continuous",
        paper="2406.11838",
        convert="tokzoo.generators.mar.weights:convert",
        read_config="tokzoo.generators.mar.weights:read_config",
        averaged="model_ema",
        golden="tokzoo.generators.mar.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(Source(repo="jadechoghari/mar", files=(f"mar-{long}.safetensors",)),),
                tokenizer="kl16_vae.in1k",
                sampling=dict(
                    num_steps=256,
                    diffusion_steps=100,
                    guidance=guidance,
                    guidance_schedule="linear",
                    temperature=1.0,
                ),
                code_licence="MIT",
                licence="MIT",
                scores=(
                    Score(metric="gFID", value=gfid, protocol=protocol),
                    Score(metric="IS", value=inception, protocol=protocol),
                ),
                checked="manifest",
                note="The hub repository is a mirror that the authors' README links; their own files are behind links.",
            ),
        ),
    )


ARCHITECTURES = (
    _published("b", "base", sizes.MAR_B, 2.31, 281.7, 2.9),
    _published("l", "large", sizes.MAR_L, 1.78, 296.0, 3.0),
    _published("h", "huge", sizes.MAR_H, 1.55, 303.7, 3.2),
)
