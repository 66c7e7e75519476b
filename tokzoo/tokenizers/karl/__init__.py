"""KARL, arXiv:2507.07995."""

from tokzoo.tokenizers.karl.config import BaseConfig, KarlConfig

__all__ = ["BaseConfig", "KarlConfig"]
