"""FlexTok, arXiv:2502.13967."""

from tokzoo.tokenizers.flextok.config import FlextokConfig, TransformerSize

__all__ = ["FlextokConfig", "TransformerSize"]
