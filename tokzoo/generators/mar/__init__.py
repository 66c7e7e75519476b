"""MAR, arXiv:2406.11838."""

from tokzoo.generators.mar.config import MarConfig

__all__ = ["MarConfig"]
