"""VAR's multi-scale tokenizer, arXiv:2404.02905."""

from tokzoo.tokenizers.var_vqvae.config import VarVqvaeConfig

__all__ = ["VarVqvaeConfig"]
