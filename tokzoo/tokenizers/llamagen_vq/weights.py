"""Published weights of LlamaGen's tokenizer, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.kl16_vae.weights import BRICK_RULES
from tokzoo.tokenizers.llamagen_vq import config as sizes
from tokzoo.tokenizers.llamagen_vq.config import LlamagenVqConfig

if TYPE_CHECKING:
    from torch import Tensor


def rules(config: LlamagenVqConfig) -> Rules:
    """How places are read. The decoder's levels are counted from the coarsest there, from full resolution here."""
    coarsest = len(config.multipliers) - 1
    turned = tuple(
        (rf"decoder\.conv_blocks\.{coarsest - level}\.{theirs}", rf"decoder.levels.{level}.{ours}")
        for level in range(coarsest + 1)
        for theirs, ours in (
            (r"res\.(.+)", r"blocks.\1"),
            (r"attn\.(.+)", r"attentions.\1"),
            (r"upsample\.(.+)", r"resample.\1"),
        )
    )
    return (
        (r"(encoder|decoder)\.(conv_in|norm_out|conv_out)\.(.+)", r"\1.\2.\3"),
        (r"(encoder|decoder)\.mid\.(.+)", r"\1.middle.\2"),
        (r"encoder\.conv_blocks\.(\d+)\.res\.(.+)", r"encoder.levels.\1.blocks.\2"),
        (r"encoder\.conv_blocks\.(\d+)\.attn\.(.+)", r"encoder.levels.\1.attentions.\2"),
        (r"encoder\.conv_blocks\.(\d+)\.downsample\.(.+)", r"encoder.levels.\1.resample.\2"),
        *turned,
        (r"quant_conv\.(.+)", r"encoder.to_code.\1"),
        (r"post_quant_conv\.(.+)", r"decoder.from_code.\1"),
        (r"quantize\.embedding\.weight", r"quantizer.codebook"),
        (r"quantize\.codebook_used", None),  # a record of the training
    )


def convert(state: Mapping[str, "Tensor"], config: LlamagenVqConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    return rename_keys(rename_keys(state, rules(config)), BRICK_RULES)


def read_config(published: Mapping[str, Any]) -> LlamagenVqConfig | None:
    """The sizes in the authors' own names (`ModelArgs`), or None for another family's."""
    if not {"codebook_size", "codebook_embed_dim", "encoder_ch_mult", "z_channels"} <= set(published):
        return None
    multipliers = tuple(published["encoder_ch_mult"])
    return LlamagenVqConfig(
        width=published.get("ch", 128),
        multipliers=multipliers,
        num_blocks=published.get("num_res_blocks", 2),
        latent_dim=published["z_channels"],
        code_dim=published["codebook_embed_dim"],
        attention_levels=(len(multipliers) - 1,),
        codebook_size=published["codebook_size"],
    )


def _rfid(value: float, tokens: int, size: int) -> Score:
    return Score(
        metric="rFID",
        value=value,
        protocol=f"ImageNet val 50k against their reconstructions at {size}x{size} ({tokens}x{tokens} tokens), FID at "
        "256x256; README of FoundationVision/LlamaGen",
    )


def _weights(tag: str, repo: str, file: str, scores: tuple[Score, ...] = (), note: str = "") -> Weights:
    return Weights(
        tag=tag,
        sources=(Source(repo=repo, files=(file,)),),
        code_licence="MIT",
        licence="MIT",
        scores=scores,
        checked="manifest",
        note=note,
    )


def _published(name: str, config: LlamagenVqConfig, *weights: Weights) -> Architecture:
    return Architecture(
        name=name,
        family="llamagen_vq",
        model="tokzoo.tokenizers.llamagen_vq.model:LlamagenVq",
        config=config,
        token_type="discrete",
        paper="2406.06525",
        convert="tokzoo.tokenizers.llamagen_vq.weights:convert",
        read_config="tokzoo.tokenizers.llamagen_vq.weights:read_config",
        golden="tokzoo.tokenizers.llamagen_vq.golden:run",
        weights=weights,
    )


ARCHITECTURES = (
    _published(
        "llamagen_vq16",
        sizes.LLAMAGEN_VQ16,
        _weights(
            "in1k",
            "FoundationVision/LlamaGen",
            "vq_ds16_c2i.pt",
            (_rfid(2.19, 16, 256), _rfid(0.94, 24, 384), _rfid(0.70, 32, 512)),
            "Against ADM's reference batch instead of the val images others measure rFID 4.28 (issue 34 there).",
        ),
        _weights("t2i", "peizesun/llamagen_t2i", "vq_ds16_t2i.pt", note="The tokenizer of the text-to-image models."),
    ),
    _published(
        "llamagen_vq8",
        sizes.LLAMAGEN_VQ8,
        _weights("in1k", "FoundationVision/LlamaGen", "vq_ds8_c2i.pt", (_rfid(0.59, 32, 256),)),
    ),
)
