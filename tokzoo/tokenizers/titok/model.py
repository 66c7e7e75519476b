"""TiTok, arXiv:2406.07550: an image as a short row of tokens, read by learned queries and spoken by mask tokens."""

from typing import Any

from torch import Tensor, nn

from tokzoo.decoders.mask_token import CodeLogitsHead, MaskTokenDecoder, PixelHead
from tokzoo.decoders.maskgit_cnn import CodeMixtureHead, MaskgitCnnDecoder
from tokzoo.encoders.latent_query import LatentQueryEncoder
from tokzoo.parts import Quantizer
from tokzoo.quantizers.gaussian import GaussianBottleneck
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.titok.config import TitokConfig
from tokzoo.tokens import Sequence, Tokens, TokenSpec


class Titok(VisualTokenizer):
    """A row of `num_tokens` tokens from a square image.

    Raises:
        ValueError: an image size that patches do not divide, or a legacy head of another grid than its pixel decoder's.
    """

    decoder: MaskTokenDecoder | None

    def __init__(self, config: TitokConfig):
        super().__init__(config)
        check_config(config)
        is_kl = config.bottleneck == "kl"
        self.encoder = LatentQueryEncoder(
            image_size=config.image_size,
            patch_size=config.patch_size,
            num_tokens=config.num_tokens,
            width=config.encoder.width,
            depth=config.encoder.depth,
            num_heads=config.encoder.num_heads,
            code_dim=2 * config.code_dim if is_kl else config.code_dim,
            scrambled=config.scrambled,
        )
        self.quantizer: Quantizer = (
            GaussianBottleneck(config.code_dim)
            if is_kl
            else VectorQuantizer(config.codebook_size, config.code_dim, normalize=config.normalize_codes)
        )
        self.decoder = self._build_decoder(config)

    def _build_decoder(self, config: TitokConfig) -> MaskTokenDecoder:
        return MaskTokenDecoder(**decoder_sizes(config), head=build_head(config))

    @property
    def token_spec(self) -> TokenSpec:
        config: TitokConfig = self.config
        return TokenSpec(
            layout=Sequence(config.num_tokens),
            levels=None if config.bottleneck == "kl" else (config.codebook_size,),
            channels=config.code_dim,
            lengths=(config.num_tokens, config.num_tokens),
        )

    def decode(self, tokens: Tokens, **options: Any) -> Tensor:
        if self.config.head == "code_logits":
            raise ValueError(
                "a stage 1 TiTok makes no pixels: its output are pixel_code_logits(tokens); stage 2 decodes"
            )
        return super().decode(tokens, **options)

    def pixel_code_logits(self, tokens: Tokens) -> Tensor:
        """Logits (B, K, h, w) over the pixel codebook, of the legacy models: what stage 1 learns and stage 2 mixes by.

        Raises:
            ValueError: a model that makes pixels directly.
        """
        decoder = self._decoder()
        if isinstance(decoder.head, PixelHead):
            raise ValueError("a TiTok with head='pixels' has no pixel codebook")
        head = decoder.head.logits if isinstance(decoder.head, CodeMixtureHead) else decoder.head
        self._check_tokens(tokens)
        return head(decoder.fill(self._placed(tokens))).float()  # type: ignore[operator]


def decoder_sizes(config: TitokConfig) -> dict[str, int]:
    """The numbers that a `MaskTokenDecoder` is built of."""
    return dict(
        grid_size=config.grid_size,
        num_tokens=config.num_tokens,
        width=config.decoder.width,
        depth=config.decoder.depth,
        num_heads=config.decoder.num_heads,
        code_dim=config.code_dim,
    )


def build_head(config: TitokConfig) -> nn.Module:
    """What turns the filled map into pixels, or into logits over a pixel codebook."""
    if config.head == "pixels":
        return PixelHead(config.decoder.width, config.patch_size)
    pixel = config.pixel
    logits = CodeLogitsHead(config.decoder.width, pixel.codebook_size)
    if config.head == "code_logits":
        return logits
    decoder = MaskgitCnnDecoder(
        width=pixel.width, multipliers=pixel.multipliers, num_blocks=pixel.num_blocks, code_dim=pixel.code_dim
    )
    return CodeMixtureHead(logits=logits, codebook_size=pixel.codebook_size, code_dim=pixel.code_dim, decoder=decoder)


def check_config(config: TitokConfig) -> None:
    """Raises ValueError where sizes do not fit each other."""
    if config.image_size % config.patch_size:
        raise ValueError(f"image_size {config.image_size} must be a multiple of patch_size {config.patch_size}")
    if config.head == "code_mixture" and config.pixel.downsample != config.patch_size:
        raise ValueError(
            f"the pixel decoder makes {config.pixel.downsample} pixels of each code, "
            f"but patch_size is {config.patch_size}: they must be equal"
        )
