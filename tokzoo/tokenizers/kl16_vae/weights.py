"""Published weights of the KL-16 autoencoder, and how the keys of VQGAN's and latent diffusion's line are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Source, Weights
from tokzoo.tokenizers.kl16_vae.config import KL16_VAE, Kl16VaeConfig

if TYPE_CHECKING:
    from torch import Tensor

LDM_CNN_RULES: Rules = (  # the encoder and decoder of taming-transformers and latent diffusion
    (r"(encoder|decoder)\.(conv_in|norm_out|conv_out)\.(.+)", r"\1.\2.\3"),
    (r"(encoder|decoder)\.mid\.block_1\.(.+)", r"\1.middle.0.\2"),
    (r"(encoder|decoder)\.mid\.attn_1\.(.+)", r"\1.middle.1.\2"),
    (r"(encoder|decoder)\.mid\.block_2\.(.+)", r"\1.middle.2.\2"),
    (r"(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.(\d+)\.(.+)", r"\1.levels.\2.blocks.\3.\4"),
    (r"(encoder|decoder)\.(?:down|up)\.(\d+)\.attn\.(\d+)\.(.+)", r"\1.levels.\2.attentions.\3.\4"),
    (r"(encoder|decoder)\.(?:down|up)\.(\d+)\.(?:down|up)sample\.conv\.(.+)", r"\1.levels.\2.resample.conv.\3"),
    (r"quant_conv\.(.+)", r"encoder.to_code.\1"),
    (r"post_quant_conv\.(.+)", r"decoder.from_code.\1"),
)
BRICK_RULES: Rules = (  # inside their blocks
    (r"(.+)\.nin_shortcut\.(.+)", r"\1.shortcut.\2"),
    (r"(.+)\.q\.(.+)", r"\1.query.\2"),
    (r"(.+)\.k\.(.+)", r"\1.key.\2"),
    (r"(.+)\.v\.(.+)", r"\1.value.\2"),
    (r"(.+)\.proj_out\.(.+)", r"\1.proj.\2"),
    (r"(.+)", r"\1"),
)


def rename_ldm_cnn(state: Mapping[str, "Tensor"], extra: Rules = ()) -> dict[str, "Tensor"]:
    """The keys of such an encoder and decoder, and those that the `extra` rules read, as ours."""
    return rename_keys(rename_keys(state, (*LDM_CNN_RULES, *extra)), BRICK_RULES)


def convert(state: Mapping[str, "Tensor"], config: Kl16VaeConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    return rename_ldm_cnn(state)


def read_config(published: Mapping[str, Any]) -> Kl16VaeConfig | None:
    """The sizes in the names of latent diffusion's configs, or None for another family's."""
    if not {"ch", "ch_mult", "num_res_blocks", "resolution", "z_channels", "embed_dim"} <= set(published):
        return None
    return Kl16VaeConfig(
        image_size=published["resolution"],
        width=published["ch"],
        multipliers=tuple(published["ch_mult"]),
        num_blocks=published["num_res_blocks"],
        code_dim=published["embed_dim"],
        attention_levels=attention_levels(published, published["attn_resolutions_encoder"]),
        decoder_attention_levels=attention_levels(published, published["attn_resolutions_decoder"]),
    )


def attention_levels(published: Mapping[str, Any], resolutions: list[int]) -> tuple[int, ...]:
    """The levels that lie at one of `resolutions` when images have the nominal size."""
    sides = [published["resolution"] >> level for level in range(len(published["ch_mult"]))]
    return tuple(level for level, side in enumerate(sides) if side in resolutions)


ARCHITECTURES = (
    Architecture(
        name="kl16_vae",
        family="kl16_vae",
        model="tokzoo.tokenizers.kl16_vae.model:Kl16Vae",
        config=KL16_VAE,
        token_type="continuous",
        paper="2406.11838",
        convert="tokzoo.tokenizers.kl16_vae.weights:convert",
        read_config="tokzoo.tokenizers.kl16_vae.weights:read_config",
        golden="tokzoo.tokenizers.kl16_vae.golden:run",
        weights=(
            Weights(
                tag="in1k",
                sources=(
                    Source(repo="jadechoghari/mar", files=("kl16.safetensors",)),
                    Source(repo="Epiphqny/TokenBridge", files=("vae/kl16.ckpt",)),
                ),
                code_licence="MIT",
                licence="MIT",
                checked="manifest",
                note="The hub repositories are mirrors of the file that the authors link.",
            ),
        ),
    ),
)
