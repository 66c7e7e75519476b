"""GST, the Gaussian Spatial Tokenizer of GST-VLA, arXiv:2603.09079."""

from tokzoo.tokenizers.gst.config import GstConfig

__all__ = ["GstConfig"]
