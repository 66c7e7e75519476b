"""Published weights of ELM's binary autoencoder, and how their keys are read."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Source, Weights
from tokzoo.tokenizers.bae import config as sizes
from tokzoo.tokenizers.bae.config import BaeConfig
from tokzoo.tokenizers.kl16_vae.weights import BRICK_RULES

if TYPE_CHECKING:
    from torch import Tensor


def places(config: BaeConfig) -> dict[str, list[str]]:
    """Where the authors' numbered blocks of each half lie in ours, in their order."""
    levels = range(len(config.multipliers))
    middle = ["middle.0", "middle.1", "middle.2"]

    def level(number: int, resample: bool) -> list[str]:
        inside = []
        for block in range(config.num_blocks):
            inside.append(f"levels.{number}.blocks.{block}")
            if number in config.attention_levels:
                inside.append(f"levels.{number}.attentions.{block}")
        return [*inside, f"levels.{number}.resample"] if resample else inside

    down = [place for number in levels for place in level(number, number < levels[-1])]
    up = [place for number in reversed(levels) for place in level(number, number > 0)]
    return {
        "encoder": ["conv_in", *down, *middle, "norm_out", "conv_out"],
        "generator": ["norm_in", "conv_in", *middle, *up, "norm_out", "conv_out"],
    }


RULES: Rules = (
    (r"encoder\.(.+)", r"encoder.\1"),
    (r"generator\.logsigma\..+", None),  # of a likelihood that no published training has
    (r"generator\.(.+)", r"decoder.\1"),
    (r"quantize\.proj\.0\.(.+)", r"encoder.to_code.\1"),
    (r"quantize\.embed\.weight", r"quantizer.table"),
)
INNER_RULES: Rules = ((r"((?:encoder|decoder)\..+)\.conv_out\.(.+)", r"\1.shortcut.\2"), *BRICK_RULES)


def convert(state: Mapping[str, "Tensor"], config: BaeConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours. Beside the keys in `ae.` their files hold what training needs."""
    inside = {key.removeprefix("ae."): value for key, value in state.items() if key.startswith("ae.")} or dict(state)
    for key, value in list(inside.items()):  # every residual block has a shortcut there, used where the width changes
        if re.fullmatch(r".+\.blocks\.\d+\.conv_out\.weight", key) and value.shape[0] == value.shape[1]:
            for name in ("weight", "bias"):
                del inside[key.replace("weight", name)]
    halves = places(config)

    def place(key: str) -> str:
        found = re.fullmatch(r"(encoder|generator)\.blocks\.(\d+)\.(.+)", key)
        return f"{found[1]}.{halves[found[1]][int(found[2])]}.{found[3]}" if found else key

    placed = {place(key): value for key, value in inside.items()}
    return rename_keys(rename_keys(placed, RULES), INNER_RULES)


def read_config(published: Mapping[str, Any], *, sub_tokens: int = 1) -> BaeConfig | None:
    """The sizes in the authors' own names (their command line's), or None for another family's."""
    if not {"nf", "ch_mult", "res_blocks", "img_size", "codebook_size", "emb_dim"} <= set(published):
        return None
    sides = [published["img_size"] >> level for level in range(len(published["ch_mult"]))]
    bits = published["codebook_size"]
    return BaeConfig(
        image_size=published["img_size"],
        width=published["nf"],
        multipliers=tuple(published["ch_mult"]),
        num_blocks=published["res_blocks"],
        latent_dim=published["emb_dim"],
        code_dim=published["emb_dim"],
        attention_levels=tuple(level for level, side in enumerate(sides) if side in published["attn_resolutions"]),
        num_bits=bits,
        slot_bits=(bits // sub_tokens,) * sub_tokens if sub_tokens > 1 else None,
    )


DRAWN = "Trained with drawn bits; the authors draw them when encoding, too: encode(images, sample=True)."
ROUNDED = "Trained and used with bits rounded at 1/2."


def _weights(tag: str, folder: str, note: str) -> Weights:
    return Weights(
        tag=tag,
        sources=(Source(repo="xuantonglll/ELM", files=(f"bae/{folder}/binaryae_ema.th",)),),
        code_licence="all rights reserved",
        licence="all rights reserved",
        checked="manifest",
        note=f"{note} The repository of the code has no licence file.",
    )


def _published(name: str, config: BaeConfig, *weights: Weights) -> Architecture:
    return Architecture(
        name=name,
        family="bae",
        model="tokzoo.tokenizers.bae.model:Bae",
        config=config,
        token_type="discrete",
        paper="2410.16257",
        convert="tokzoo.tokenizers.bae.weights:convert",
        read_config="tokzoo.tokenizers.bae.weights:read_config",
        golden="tokzoo.tokenizers.bae.golden:run",
        weights=weights,
    )


ARCHITECTURES = (
    _published(
        "elm_bae_16",
        sizes.ELM_BAE_16,
        _weights("in1k", "bae_16", DRAWN),
        _weights("in1k_rounded", "bae_16_deter", ROUNDED),
    ),
    _published("elm_bae_20", sizes.ELM_BAE_20, _weights("in1k", "bae_20", DRAWN)),
    _published("elm_bae_24", sizes.ELM_BAE_24, _weights("in1k", "bae_24", DRAWN)),
)
