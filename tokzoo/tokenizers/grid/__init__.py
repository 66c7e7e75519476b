"""Any encoder, any quantizer and any decoder, by name."""

from tokzoo.tokenizers.grid.config import ComposedConfig

__all__ = ["ComposedConfig"]
