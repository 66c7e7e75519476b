"""The autoencoders under FlexTok, arXiv:2502.13967: the architecture of diffusers' AutoencoderKL."""

from tokzoo.tokenizers.kl16_vae.model import Kl16Vae


class FlextokVae(Kl16Vae):
    """A grid of continuous tokens, one per 8 x 8 pixels; any size that is a multiple of it."""

    photo_protocol = "bilinear"
