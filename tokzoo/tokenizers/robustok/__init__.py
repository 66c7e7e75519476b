"""RobusTok, arXiv:2503.08354 and arXiv:2509.12474."""

from tokzoo.tokenizers.robustok.config import RobustokConfig

__all__ = ["RobustokConfig"]
