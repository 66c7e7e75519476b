"""Tiny autoencoders for the latents of Stable Diffusion and FLUX, github.com/madebyollin/taesd."""

from tokzoo.tokenizers.taesd.config import TaesdConfig

__all__ = ["TaesdConfig"]
