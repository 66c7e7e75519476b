"""Generators that read and name codes by the tokenizer's own code vectors: small ones for little data."""

from tokzoo.generators.on_codes.config import CodeGptConfig, CodeMaskgitConfig

__all__ = ["CodeGptConfig", "CodeMaskgitConfig"]
