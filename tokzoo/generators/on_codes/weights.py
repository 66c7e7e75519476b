"""The small generators of ours."""

from typing import Any

from tokzoo.generators.on_codes import config as sizes
from tokzoo.registry import Architecture


def _architecture(name: str, model: str, config: Any, paper: str) -> Architecture:
    return Architecture(
        name=name,
        family="on_codes",
        kind="generator",
        model=f"tokzoo.generators.on_codes.model:{model}",
        config=config,
        token_type="discrete",
        paper=paper,
    )


ARCHITECTURES = (
    _architecture("gpt_nano", "CodeGpt", sizes.GPT_NANO, "2406.06525"),
    _architecture("maskgit_nano", "CodeMaskgit", sizes.MASKGIT_NANO, "2202.04200"),
)
