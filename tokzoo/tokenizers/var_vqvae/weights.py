"""Published weights of VAR's tokenizer, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules
from tokzoo.registry import Architecture, Source, Weights
from tokzoo.tokenizers.kl16_vae.weights import rename_ldm_cnn
from tokzoo.tokenizers.var_vqvae.config import VAR_VQVAE, VAR_VQVAE_512, VarVqvaeConfig

if TYPE_CHECKING:
    from torch import Tensor

QUANTIZER_RULES: Rules = (
    (r"quantize\.embedding\.weight", r"quantizer.inner.0.codebook"),
    (r"quantize\.quant_resi\.qresi_ls\.(.+)", r"quantizer.smoothing.convs.\1"),
    (r"quantize\.ema_vocab_hit_SV", None),  # how often codes were used in training
)


def convert(state: Mapping[str, "Tensor"], config: VarVqvaeConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    parted: dict[str, Tensor] = {}
    for key, value in state.items():
        before, fused, after = key.partition(".qkv.")
        if fused:  # one conv for the three of an attention
            parted |= {f"{before}.{name}.{after}": part for name, part in zip("qkv", value.chunk(3), strict=True)}
        else:
            parted[key] = value
    return rename_ldm_cnn(parted, QUANTIZER_RULES)


def read_config(published: Mapping[str, Any]) -> VarVqvaeConfig | None:
    """The sizes in the authors' own names (their constructor's), or None for another family's."""
    if not {"vocab_size", "z_channels", "ch", "v_patch_nums"} <= set(published):
        return None
    scales = tuple(published["v_patch_nums"])
    return VarVqvaeConfig(
        image_size=16 * scales[-1],
        width=published["ch"],
        latent_dim=published["z_channels"],
        code_dim=published["z_channels"],
        codebook_size=published["vocab_size"],
        scales=scales,
        num_smoothing=published.get("share_quant_resi", 4),
        smoothing_ratio=published.get("quant_resi", 0.5),
    )


def _published(name: str, config: VarVqvaeConfig, *, note: str = "") -> Architecture:
    return Architecture(
        name=name,
        family="var_vqvae",
        model="tokzoo.tokenizers.var_vqvae.model:VarVqvae",
        config=config,
        token_type="discrete",
        paper="2404.02905",
        convert="tokzoo.tokenizers.var_vqvae.weights:convert",
        read_config="tokzoo.tokenizers.var_vqvae.weights:read_config",
        golden="tokzoo.tokenizers.var_vqvae.golden:run",
        weights=(
            Weights(
                tag="openimages",
                sources=(Source(repo="FoundationVision/var", files=("vae_ch160v4096z32.pth",)),),
                code_licence="MIT",
                licence="MIT",
                checked="manifest",
                note=note,
            ),
        ),
    )


ARCHITECTURES = (
    _published("var_vqvae", VAR_VQVAE),
    _published("var_vqvae_512", VAR_VQVAE_512, note="The same file, with the scales of VAR-d36."),
)
