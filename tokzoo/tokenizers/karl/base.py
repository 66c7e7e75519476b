"""The grid tokenizer under KARL and ALIT, taken apart: its encoder looks, its decoder paints."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tokzoo.conversion import Rules, rename_keys
from tokzoo.tokenizers.karl.config import BaseConfig
from tokzoo.tokenizers.kl16_vae import weights as kl16_vae_weights
from tokzoo.tokenizers.maskgit_vqgan.weights import CNN_RULES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tokzoo.parts import Encoder

TAMING_RULES: Rules = (  # the names of taming-transformers -> those that MaskGIT's rules read
    (r"(encoder|decoder)\.mid\.block_1\.(.+)", r"\1.mid.0.\2"),
    (r"(encoder|decoder)\.mid\.block_2\.(.+)", r"\1.mid.1.\2"),
    (r"decoder\.up\.(\d+)\.upsample\.conv\.(.+)", r"decoder.up.\1.upsample_conv.\2"),
    (r"((?:encoder|decoder)\..+)", r"\1"),
)


def convert(state: Mapping[str, "Tensor"], base: BaseConfig) -> dict[str, "Tensor"]:
    """The base tokenizer's part of the authors' state dict, without its prefix -> ours."""
    if base.kind == "vae":
        ours = kl16_vae_weights.rename_ldm_cnn(state)
        prefixes = {"encoder": "encoder.base.encoder", "decoder": "decoder.head.decoder"}
    else:
        extra = ((r"quantize\.embedding\.weight", r"codebook.weight"),)
        ours = rename_keys(rename_keys(state, (*TAMING_RULES, *extra)), (*CNN_RULES, (r"(codebook\..+)", r"\1")))
        prefixes = {"encoder": "encoder.base", "decoder": "decoder.head.decoder", "codebook": "decoder.head.codebook"}
    split = ((key.partition("."), tensor) for key, tensor in ours.items())
    return {f"{prefixes[half]}.{rest}": tensor for (half, _, rest), tensor in split}


def build_encoder(base: BaseConfig) -> "Encoder | None":
    """What gives the base's features: before quantization, or the scaled latents."""
    from tokzoo.encoders.latents import LatentsEncoder
    from tokzoo.encoders.maskgit_cnn import MaskgitCnnEncoder
    from tokzoo.layers.latent_scale import LatentScale
    from tokzoo.quantizers.gaussian import GaussianBottleneck
    from tokzoo.tokenizers.kl16_vae import model as kl16_vae
    from tokzoo.tokenizers.maskgit_vqgan import model as maskgit_vqgan

    match base.kind:
        case "vqgan":
            return MaskgitCnnEncoder(**maskgit_vqgan.cnn_sizes(base.vqgan))
        case "vae":  # made for [-1, 1], but tuned here on [0, 1]
            encoder = kl16_vae.build_encoder(base.vae, signed=False)
            return LatentsEncoder(encoder, GaussianBottleneck(base.vae.code_dim), LatentScale((base.vae.scale,)))
    return None


def build_head(base: BaseConfig, width: int, patch_size: int) -> "nn.Module":
    """What turns the filled map into pixels."""
    from tokzoo.decoders.ldm_cnn import LatentHead
    from tokzoo.decoders.mask_token import CodeLogitsHead, PixelHead
    from tokzoo.decoders.maskgit_cnn import CodeMixtureHead, MaskgitCnnDecoder
    from tokzoo.tokenizers.kl16_vae import model as kl16_vae
    from tokzoo.tokenizers.maskgit_vqgan import model as maskgit_vqgan

    match base.kind:
        case "vqgan":
            return CodeMixtureHead(
                logits=CodeLogitsHead(width, base.vqgan.codebook_size),
                codebook_size=base.vqgan.codebook_size,
                code_dim=base.vqgan.code_dim,
                decoder=MaskgitCnnDecoder(**maskgit_vqgan.cnn_sizes(base.vqgan)),
            )
        case "vae":
            decoder = kl16_vae.build_decoder(base.vae, signed=False)
            return LatentHead(latents=CodeLogitsHead(width, base.vae.code_dim), decoder=decoder)
    return PixelHead(width, patch_size)


def check_base(base: BaseConfig, image_size: int, patch_size: int, width: int) -> None:
    """Raises ValueError unless `base` fits an encoder of these sizes."""
    if image_size % patch_size:
        raise ValueError(f"image_size {image_size} must be a multiple of patch_size {patch_size}")
    if width <= base.code_dim:
        raise ValueError(f"the encoder's width {width} must exceed the {base.code_dim} channels of its base tokenizer")
    base.check_fits(patch_size)
