"""tokzoo: visual tokenizers behind one registry and one API. Public names load when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokzoo.generation import Pipeline, pipeline
    from tokzoo.generators.base import Generator
    from tokzoo.hub import create_model, from_pretrained, load_weights
    from tokzoo.registry import Architecture, Weights, list_models, register_architecture, register_tokenizer
    from tokzoo.shelf import register_quantizer
    from tokzoo.token_files import TokenFile, TokenFileError
    from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
    from tokzoo.tokenizers.post_training.model import quantize
    from tokzoo.tokens import Tokens, TokenSpec

_HOMES = {
    "Architecture": "tokzoo.registry",
    "Generator": "tokzoo.generators.base",
    "Pipeline": "tokzoo.generation",
    "TokenFile": "tokzoo.token_files",
    "TokenFileError": "tokzoo.token_files",
    "TokenSpec": "tokzoo.tokens",
    "TokenizerOutput": "tokzoo.tokenizers.base",
    "Tokens": "tokzoo.tokens",
    "VisualTokenizer": "tokzoo.tokenizers.base",
    "Weights": "tokzoo.registry",
    "create_model": "tokzoo.hub",
    "from_pretrained": "tokzoo.hub",
    "list_models": "tokzoo.registry",
    "pipeline": "tokzoo.generation",
    "quantize": "tokzoo.tokenizers.post_training.model",
    "load_weights": "tokzoo.hub",
    "register_architecture": "tokzoo.registry",
    "register_quantizer": "tokzoo.shelf",
    "register_tokenizer": "tokzoo.registry",
}

__all__ = [
    "Architecture",
    "Generator",
    "Pipeline",
    "TokenFile",
    "TokenFileError",
    "TokenSpec",
    "TokenizerOutput",
    "Tokens",
    "VisualTokenizer",
    "Weights",
    "create_model",
    "from_pretrained",
    "list_models",
    "load_weights",
    "pipeline",
    "quantize",
    "register_architecture",
    "register_quantizer",
    "register_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tokzoo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
