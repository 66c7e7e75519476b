"""Published autoencoders in the format of diffusers, and how their keys and config.json are read."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Source, Weights
from tokzoo.tokenizers.diffusers_ae import config as sizes
from tokzoo.tokenizers.diffusers_ae.config import DiffusersAeConfig, Kind

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = (
    (r"(encoder|decoder)\.(.+)", r"\1.net.\2"),
    (r"decoder_unet\.(.+)", r"decoder.net.\1"),
    (r"quant_conv\.(.+)", r"encoder.to_code.\1"),
    (r"post_quant_conv\.(.+)", r"decoder.from_code.\1"),
    (r"quantize\.embedding\.weight", r"quantizer.codebook"),
    (r"bn\..+", None),  # scales patches of FLUX.2's latents for its generator
)
OLD_ATTENTION: Rules = (  # the names of files from before diffusers 0.18
    (r"(.+\.attentions\.\d+)\.query\.(.+)", r"\1.to_q.\2"),
    (r"(.+\.attentions\.\d+)\.key\.(.+)", r"\1.to_k.\2"),
    (r"(.+\.attentions\.\d+)\.value\.(.+)", r"\1.to_v.\2"),
    (r"(.+\.attentions\.\d+)\.proj_attn\.(.+)", r"\1.to_out.0.\2"),
    (r"(.+)", r"\1"),
)
CONV_ATTENTION = re.compile(r".+\.attentions\.\d+\.to_(q|k|v|out\.0)\.weight")


def convert(state: Mapping[str, "Tensor"], config: DiffusersAeConfig) -> dict[str, "Tensor"]:
    """The state dict of a diffusers autoencoder -> ours."""
    ours = rename_keys(rename_keys(state, RULES), OLD_ATTENTION)
    for key, tensor in ours.items():
        if tensor.ndim == 4 and config.kind != "AutoencoderDC" and CONV_ATTENTION.fullmatch(key):
            ours[key] = tensor.flatten(1)  # old files have 1x1 convs here
    return ours


def read_config(published: Mapping[str, Any]) -> DiffusersAeConfig | None:
    """What the config.json of a known autoencoder says, or None for another's; it is read as data."""
    kind = next((kind for kind in get_args(Kind) if kind == published.get("_class_name")), None)
    if kind is None:
        return None
    fields = {name: value for name, value in published.items() if not name.startswith("_")}
    if kind == "ConsistencyDecoderVAE":  # it notes these for its own use, and takes them from nobody
        fields = {name: value for name, value in fields.items() if name not in ("block_out_channels", "force_upcast")}
    size = fields.get("sample_size") or 512
    size = min(size) if isinstance(size, list | tuple) else size
    least = DiffusersAeConfig(kind=kind, image_size=size, fields=fields).downsample
    return DiffusersAeConfig(kind=kind, image_size=max(least, size // least * least), fields=fields)


def _published(
    name: str,
    config: DiffusersAeConfig,
    repo: str,
    licence: str,
    *,
    paper: str,
    folder: str = "",
    note: str = "",
    tag: str = "unstated",
) -> Architecture:
    files = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
    return Architecture(
        name=name,
        family="diffusers_ae",
        model="tokzoo.tokenizers.diffusers_ae.model:DiffusersAe",
        config=config,
        token_type="continuous",
        paper=paper,
        convert="tokzoo.tokenizers.diffusers_ae.weights:convert",
        read_config="tokzoo.tokenizers.diffusers_ae.weights:read_config",
        weights=(
            Weights(
                tag=tag,
                sources=(Source(repo=repo, files=tuple(f"{folder}{file}" for file in files)),),
                code_licence="Apache-2.0",
                licence=licence,
                checked="config",
                note=note,
            ),
        ),
    )


LDM, SDXL, SD3, DC_AE = "2112.10752", "2307.01952", "2403.03206", "2410.10733"
ARCHITECTURES = (
    _published("sd_vae_ft_mse", sizes.SD_VAE, "stabilityai/sd-vae-ft-mse", "MIT", paper=LDM, tag="laion"),
    _published("sd_vae_ft_ema", sizes.SD_VAE, "stabilityai/sd-vae-ft-ema", "MIT", paper=LDM, tag="laion"),
    _published(
        "consistency_decoder",
        sizes.CONSISTENCY_DECODER,
        "openai/consistency-decoder",
        "MIT",
        paper="",
        note="The encoder of Stable Diffusion's autoencoder with a decoder that draws, in two steps.",
    ),
    _published("sdxl_vae", sizes.SDXL_VAE, "stabilityai/sdxl-vae", "MIT", paper=SDXL, note="Overflows in float16."),
    _published(
        "sd3_vae",
        sizes.SD3_VAE,
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "LicenseRef-stabilityai-ai-community",
        paper=SD3,
        folder="vae/",
        note="The repository is gated.",
    ),
    _published("flux_vae", sizes.FLUX_VAE, "black-forest-labs/FLUX.1-schnell", "Apache-2.0", paper="", folder="vae/"),
    _published(
        "flux2_vae",
        sizes.FLUX2_VAE,
        "black-forest-labs/FLUX.2-klein-4B",
        "Apache-2.0",
        paper="",
        folder="vae/",
        note="Apache-2.0 as the README of black-forest-labs/flux2 says, unlike generators of the same line.",
    ),
    _published(
        "dc_ae_f32c32",
        sizes.DC_AE_F32C32_IN,
        "mit-han-lab/dc-ae-f32c32-in-1.0-diffusers",
        "Apache-2.0",
        paper=DC_AE,
        tag="in1k",
    ),
    _published(
        "dc_ae_f32c32_sana",
        sizes.DC_AE_F32C32_SANA,
        "mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers",
        "Apache-2.0",
        paper=DC_AE,
    ),
    Architecture(
        name="diffusers_ae",
        family="diffusers_ae",
        model="tokzoo.tokenizers.diffusers_ae.model:DiffusersAe",
        config=sizes.TINY,
        token_type="discrete",
        paper=LDM,
        convert="tokzoo.tokenizers.diffusers_ae.weights:convert",
        read_config="tokzoo.tokenizers.diffusers_ae.weights:read_config",
    ),
)
