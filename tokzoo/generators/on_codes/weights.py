"""The small generators of ours."""

from typing import Any

from tokzoo.generators.on_codes import config as sizes
from tokzoo.registry import Architecture, Weights


def _shipped(tokenizer: str, **sampling: Any) -> Weights:
    """Weights of ours; classes and scores lie beside them."""
    return Weights(
        tag=tokenizer.replace(".", "-"),
        tokenizer=tokenizer,
        sampling=sampling,
        code_licence="Apache-2.0",
        licence="Apache-2.0",
        checked="weights",
    )


def _architecture(name: str, model: str, config: Any, published_as: str, paper: str, *weights: Weights) -> Architecture:
    return Architecture(
        name=name,
        family="on_codes",
        kind="generator",
        model=f"tokzoo.generators.on_codes.model:{model}",
        config=config,
        token_type="discrete",
        paper=paper,
        published_as=published_as,
        weights=weights,
    )


ARCHITECTURES = (
    _architecture(
        "gpt_nano",
        "CodeGpt",
        sizes.GPT_NANO,
        "LlamaGen",
        "2406.06525",
        _shipped("titok_nano.photos64", guidance=2.0),
        _shipped("one_d_piece_nano.photos64", guidance=2.0),
    ),
    _architecture(
        "maskgit_nano",
        "CodeMaskgit",
        sizes.MASKGIT_NANO,
        "MaskGIT",
        "2202.04200",
        _shipped("titok_nano.photos64", guidance=2.0, num_steps=12, temperature=3.0),
    ),
)
