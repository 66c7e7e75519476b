"""Published autoencoders of FlexTok, and how the keys of diffusers' AutoencoderKL are read."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Source, Weights
from tokzoo.tokenizers.flextok_vae import config as sizes
from tokzoo.tokenizers.flextok_vae.config import FlextokVaeConfig
from tokzoo.tokenizers.kl16_vae.config import Kl16VaeConfig

if TYPE_CHECKING:
    from torch import Tensor

KL_RULES: Rules = (
    (r"(encoder|decoder)\.(conv_in|conv_out)\.(.+)", r"\1.\2.\3"),
    (r"(encoder|decoder)\.conv_norm_out\.(.+)", r"\1.norm_out.\2"),
    (r"(encoder|decoder)\.mid_block\.resnets\.0\.(.+)", r"\1.middle.0.\2"),
    (r"(encoder|decoder)\.mid_block\.attentions\.0\.(.+)", r"\1.middle.1.\2"),
    (r"(encoder|decoder)\.mid_block\.resnets\.1\.(.+)", r"\1.middle.2.\2"),
    (r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.resnets\.(\d+)\.(.+)", r"\1.levels.\2.blocks.\3.\4"),
    (r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.(.+)", r"\1.levels.\2.resample.\3"),
    (r"quant_conv\.(.+)", r"encoder.to_code.\1"),
    (r"post_quant_conv\.(.+)", r"decoder.from_code.\1"),
)
BRICK_RULES: Rules = (  # inside their blocks; the second name is that of files from before diffusers 0.18
    (r"(.+)\.conv_shortcut\.(.+)", r"\1.shortcut.\2"),
    (r"(.+)\.group_norm\.(.+)", r"\1.norm.\2"),
    (r"(.+)\.(?:to_q|query)\.(.+)", r"\1.query.\2"),
    (r"(.+)\.(?:to_k|key)\.(.+)", r"\1.key.\2"),
    (r"(.+)\.(?:to_v|value)\.(.+)", r"\1.value.\2"),
    (r"(.+)\.(?:to_out\.0|proj_attn)\.(.+)", r"\1.proj.\2"),
    (r"(.+)", r"\1"),
)


def rename_kl(state: Mapping[str, "Tensor"], num_levels: int) -> dict[str, "Tensor"]:
    """The keys of an AutoencoderKL as ours, for `num_levels` levels."""
    ours = {}
    for key, tensor in rename_keys(rename_keys(state, KL_RULES), BRICK_RULES).items():
        if match := re.fullmatch(r"decoder\.levels\.(\d+)\.(.+)", key):  # coarsest first there, last here
            key = f"decoder.levels.{num_levels - 1 - int(match[1])}.{match[2]}"
        if re.search(r"\.middle\.1\.(query|key|value|proj)\.weight$", key):  # a linear map there, a 1x1 conv here
            tensor = tensor.reshape(*tensor.shape[:2], 1, 1)
        ours[key] = tensor
    return ours


def convert(state: Mapping[str, "Tensor"], config: Kl16VaeConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    return rename_kl(state, len(config.multipliers))


def read_config(published: Mapping[str, Any]) -> FlextokVaeConfig | None:
    """The sizes in the config.json of an AutoencoderKL without attention between its levels, or None for another's."""
    if published.get("_class_name", "AutoencoderKL") != "AutoencoderKL" or "block_out_channels" not in published:
        return None
    blocks = {*published["down_block_types"], *published["up_block_types"]}
    whole = published.get("use_quant_conv", True) and published.get("use_post_quant_conv", True)
    if blocks != {"DownEncoderBlock2D", "UpDecoderBlock2D"} or not whole or published.get("shift_factor"):
        return None
    widths = published["block_out_channels"]
    return FlextokVaeConfig(
        width=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        num_blocks=published["layers_per_block"],
        code_dim=published["latent_channels"],
        groups=published["norm_num_groups"],
        scale=published.get("scaling_factor") or 1.0,
    )


NOTE = (
    "The authors do not state the training data. The factor by which generators multiply latents is in the hub's "
    "config.json, which was not seen."
)


def _published(channels: int, config: FlextokVaeConfig) -> Architecture:
    return Architecture(
        name=f"flextok_vae_c{channels}",
        family="flextok_vae",
        model="tokzoo.tokenizers.flextok_vae.model:FlextokVae",
        config=config,
        token_type="continuous",
        paper="2502.13967",
        convert="tokzoo.tokenizers.flextok_vae.weights:convert",
        golden="tokzoo.tokenizers.flextok_vae.golden:run",
        weights=(
            Weights(
                tag="unstated",
                sources=(
                    Source(repo=f"EPFL-VILAB/flextok_vae_c{channels}", files=("diffusion_pytorch_model.safetensors",)),
                ),
                code_licence="LicenseRef-Apple-Sample-Code-1.1",
                licence="apple-amlr",
                checked="manifest",
                note=NOTE,
            ),
        ),
    )


ARCHITECTURES = (
    _published(4, sizes.FLEXTOK_VAE_C4),
    _published(8, sizes.FLEXTOK_VAE_C8),
    _published(16, sizes.FLEXTOK_VAE_C16),
)
