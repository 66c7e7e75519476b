"""The KL-16 autoencoder of MAR, arXiv:2406.11838: latent diffusion's (arXiv:2112.10752), 16 channels per f16 place."""

from tokzoo.decoders.ldm_cnn import LdmCnnDecoder
from tokzoo.encoders.ldm_cnn import LdmCnnEncoder
from tokzoo.quantizers.gaussian import GaussianBottleneck
from tokzoo.tokenizers.kl16_vae.config import Kl16VaeConfig
from tokzoo.tokenizers.on_grid import GridTokenizer
from tokzoo.tokens import Grid, TokenSpec


def build_encoder(config: Kl16VaeConfig, *, signed: bool = True) -> LdmCnnEncoder:
    """Images -> mean and log-variance of the latents."""
    return LdmCnnEncoder(
        width=config.width,
        multipliers=config.multipliers,
        num_blocks=config.num_blocks,
        latent_dim=2 * config.code_dim,
        code_dim=2 * config.code_dim,
        attention_levels=config.attention_levels,
        groups=config.groups,
        signed=signed,
    )


def build_decoder(config: Kl16VaeConfig, *, signed: bool = True) -> LdmCnnDecoder:
    """Latents -> images."""
    return LdmCnnDecoder(
        width=config.width,
        multipliers=config.multipliers,
        num_blocks=config.num_blocks,
        latent_dim=config.code_dim,
        code_dim=config.code_dim,
        attention_levels=config.decoder_attention_levels,
        groups=config.groups,
        signed=signed,
    )


class Kl16Vae(GridTokenizer):
    """One continuous token per f x f pixels, row-major; generators model latents times `config.scale`."""

    def __init__(self, config: Kl16VaeConfig):
        super().__init__(config)
        self.encoder = build_encoder(config)
        self.quantizer = GaussianBottleneck(config.code_dim)
        self.decoder = build_decoder(config)

    @property
    def token_spec(self) -> TokenSpec:
        side = self.config.image_size // self.config.downsample
        return TokenSpec(
            layout=Grid(side, side),
            levels=None,
            channels=self.config.code_dim,
            lengths=(1, side**2),
            scale=self.config.scale,
        )
