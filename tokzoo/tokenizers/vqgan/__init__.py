"""VQGAN of taming-transformers, arXiv:2012.09841."""

from tokzoo.tokenizers.vqgan.config import VqganConfig

__all__ = ["VqganConfig"]
