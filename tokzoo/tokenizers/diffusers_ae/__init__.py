"""Autoencoders of diffusers as tokenizers."""

from tokzoo.tokenizers.diffusers_ae.config import DiffusersAeConfig

__all__ = ["DiffusersAeConfig"]
