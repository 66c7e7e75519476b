"""MaskGen, arXiv:2501.07730. What it is told of a picture is `tokzoo.generators.maskgen.caption.Caption`."""

from tokzoo.generators.maskgen.config import MaskgenKlConfig, MaskgenVqConfig

__all__ = ["MaskgenKlConfig", "MaskgenVqConfig"]
