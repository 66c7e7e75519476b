"""TokenBridge, arXiv:2503.16430."""

from tokzoo.generators.tokenbridge.config import TokenBridgeConfig

__all__ = ["TokenBridgeConfig"]
