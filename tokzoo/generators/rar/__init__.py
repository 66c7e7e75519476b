"""RAR, arXiv:2411.00776."""

from tokzoo.generators.rar.config import RarConfig

__all__ = ["RarConfig"]
