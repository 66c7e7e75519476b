"""The binary autoencoder of ELM, arXiv:2410.16257."""

from tokzoo.tokenizers.bae.config import BaeConfig

__all__ = ["BaeConfig"]
