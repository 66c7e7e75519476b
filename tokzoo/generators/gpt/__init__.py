"""LlamaGen's GPT, arXiv:2406.06525."""

from tokzoo.generators.gpt.config import GptConfig

__all__ = ["GptConfig"]
