"""VAR, arXiv:2404.02905."""

from tokzoo.generators.var.config import VarConfig

__all__ = ["VarConfig"]
