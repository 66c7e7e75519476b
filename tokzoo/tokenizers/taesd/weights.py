"""Published weights of the tiny autoencoders, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, ManualSource, Source, Weights
from tokzoo.tokenizers.taesd import config as sizes
from tokzoo.tokenizers.taesd.config import TaesdConfig

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = ((r"(encoder|decoder)\.(\d+\..+)", r"\1.layers.\2"),)
DIFFUSERS_RULES: Rules = ((r"(encoder|decoder)\.layers\.(\d+\..+)", r"\1.\2"),)


def convert(state: Mapping[str, "Tensor"], config: TaesdConfig) -> dict[str, "Tensor"]:
    """The author's state dict, or that of diffusers' AutoencoderTiny -> ours."""
    if any(".layers." in key for key in state):
        state = {_count_clamp(key): tensor for key, tensor in rename_keys(state, DIFFUSERS_RULES).items()}
    return rename_keys(state, RULES)


def _count_clamp(key: str) -> str:
    """Diffusers' decoder does not count the clamp, the author's layer 0."""
    half, layer, rest = key.split(".", 2)
    return f"{half}.{int(layer) + (half == 'decoder')}.{rest}"


def read_config(published: Mapping[str, Any]) -> TaesdConfig | None:
    """The sizes in the config.json of an AutoencoderTiny, or None for another's.

    Raises:
        ValueError: an AutoencoderTiny that is built otherwise than the published ones.
    """
    if published.get("_class_name") != "AutoencoderTiny":
        return None
    widths = {*published["encoder_block_out_channels"], *published["decoder_block_out_channels"]}
    num_blocks = tuple(published["num_encoder_blocks"])
    mirrored = tuple(published["num_decoder_blocks"])[::-1] == num_blocks
    if len(widths) > 1 or not mirrored or published.get("act_fn", "relu") != "relu":
        raise ValueError("this AutoencoderTiny has several widths, a decoder unlike its encoder, or no ReLU")
    return TaesdConfig(width=widths.pop(), num_blocks=num_blocks, code_dim=published["latent_channels"])


def _published(name: str, config: TaesdConfig, weights: Weights) -> Architecture:
    return Architecture(
        name=name,
        family="taesd",
        model="tokzoo.tokenizers.taesd.model:Taesd",
        config=config,
        token_type="continuous",
        paper="",
        convert="tokzoo.tokenizers.taesd.weights:convert",
        read_config="tokzoo.tokenizers.taesd.weights:read_config",
        golden="tokzoo.tokenizers.taesd.golden:run",
        published_as=name.upper(),
        weights=(weights,),
    )


def _on_hub(name: str, latents: str) -> Weights:
    return Weights(
        tag="unstated",
        sources=(Source(repo=f"madebyollin/{name}", files=("diffusion_pytorch_model.safetensors",)),),
        code_licence="MIT",
        licence="MIT",
        checked="manifest",
        note=f"Reads and writes the latents of {latents}. The author does not state the training data.",
    )


def _in_the_repository(tag: str, name: str, latents: str, **about: Any) -> Weights:
    """Both halves lie as files beside the author's code."""
    return Weights(
        tag=tag,
        manual=ManualSource(
            file=f"{name}_encoder.pth",
            other_half=f"{name}_decoder.pth",
            url="https://github.com/madebyollin/taesd",
            sha256=about.pop("sha256", {}),
        ),
        code_licence="MIT",
        licence="MIT",
        note=f"Reads and writes the latents of {latents}. The author does not state the training data.",
        **about,
    )


TAEF2_FILES = _in_the_repository(
    "flux2",
    "taef2",
    "FLUX.2",
    checked="weights",
    sha256={
        "taef2_encoder.pth": "10a4e1021e89d7551eaf161352da8dbd0b1aa83872ae28b150c1df1ce2f147b6",
        "taef2_decoder.pth": "0a44a31e1ae59eb9dbf9359d24942fd3ef5928162c1800d97a28c61d51be0ab5",
    },
)
TAESANA_FILES = _in_the_repository("sana", "taesana", "SANA's DC-AE (f32c32)", checked="manifest")

ARCHITECTURES = (
    _published("taesd", sizes.TAESD, _on_hub("taesd", "Stable Diffusion 1 and 2")),
    _published("taesdxl", sizes.TAESDXL, _on_hub("taesdxl", "SDXL")),
    _published("taesd3", sizes.TAESD3, _on_hub("taesd3", "Stable Diffusion 3")),
    _published("taef1", sizes.TAEF1, _on_hub("taef1", "FLUX.1")),
    _published("taef2", sizes.TAEF2, TAEF2_FILES),
    _published("taesana", sizes.TAESANA, TAESANA_FILES),
)
