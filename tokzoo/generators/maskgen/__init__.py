"""MaskGen, arXiv:2501.07730."""

from tokzoo.generators.maskgen.caption import Caption
from tokzoo.generators.maskgen.config import MaskgenKlConfig, MaskgenVqConfig

__all__ = ["Caption", "MaskgenKlConfig", "MaskgenVqConfig"]
