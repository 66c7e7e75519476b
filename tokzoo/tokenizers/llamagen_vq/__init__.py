"""LlamaGen's tokenizer, arXiv:2406.06525."""

from tokzoo.tokenizers.llamagen_vq.config import LlamagenVqConfig

__all__ = ["LlamagenVqConfig"]
