"""The KL-16 autoencoder of MAR, arXiv:2406.11838."""

from tokzoo.tokenizers.kl16_vae.config import Kl16VaeConfig

__all__ = ["Kl16VaeConfig"]
