"""Published weights of KARL, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, ManualSource, Score, Weights
from tokzoo.tokenizers.karl import base as bases
from tokzoo.tokenizers.karl import config as sizes
from tokzoo.tokenizers.karl.config import BaseConfig, KarlConfig
from tokzoo.tokenizers.titok.config import VitSize
from tokzoo.tokenizers.titok.weights import VIT_RULES

if TYPE_CHECKING:
    from torch import Tensor

BASE = "base_tokenizer."
RULES: Rules = (  # what VIT_RULES do not read
    (r"encoder_ln_pre\.(.+)", r"encoder.norm_in.\1"),
    (r"encoder_ln_post\.(.+)", r"encoder.norm_out.\1"),
    (r"encoder_ln_post_halt\.(.+)", r"encoder.norm_halt.\1"),
    (r"(encoder|decoder)_positional_embedding", r"\1.positions"),
    (r"rec_loss_embeddings", r"encoder.error_embeddings"),
    (r"patch_embed\.(.+)", r"encoder.patch_embed.\1"),
    (r"pre_quantizer_mlp\.(.+)", r"encoder.to_code.\1"),
    (r"halting_mlp\.(.+)", r"encoder.halting.\1"),
    (r"decoder_embed\.(.+)", r"decoder.embed.\1"),
    (r"decoder_latent_tokens_timestep_embed", r"decoder.code_positions"),
    (r"decoder_mask_token", r"decoder.mask_token"),
    (r"gan_losses\..+", None),  # discriminators and LPIPS
)
HEAD_RULES: dict[str, Rules] = {
    "vqgan": (
        (r"decoder\.ffn\.0\.(.+)", r"decoder.head.logits.expand.\1"),
        (r"decoder\.ffn\.2\.(.+)", r"decoder.head.logits.to_logits.\1"),
    ),
    "vae": (
        (r"decoder\.ffn\.0\.(.+)", r"decoder.head.latents.expand.\1"),
        (r"decoder\.ffn\.2\.(.+)", r"decoder.head.latents.to_logits.\1"),
    ),
}


def convert(state: Mapping[str, "Tensor"], config: KarlConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    return convert_with(state, RULES, config.base)


def convert_with(state: Mapping[str, "Tensor"], rules: Rules, base: BaseConfig) -> dict[str, "Tensor"]:
    """The same by the `rules` of a tokenizer on top of `base`."""
    own = {key: tensor for key, tensor in state.items() if not key.startswith(BASE)}
    lent = {key.removeprefix(f"{BASE}{base.kind}."): tensor for key, tensor in state.items() if key.startswith(BASE)}
    ours = rename_keys(own, (*rules, *HEAD_RULES[base.kind], *VIT_RULES))
    for key in list(ours):
        if key.startswith("decoder.head.") and ours[key].ndim == 2:  # linear maps there, 1x1 convs here
            ours[key] = ours[key][:, :, None, None]
    return {**ours, **bases.convert(lent, base)}


def read_config(published: Mapping[str, Any], *, base: BaseConfig | None = None) -> KarlConfig | None:
    """The sizes in the names of the authors' constructor, or None for another family's.

    Args:
        base: the base tokenizer; None: the published one that `base_tokenizer` names.
    """
    if not {"encoder_num_layers", "vq_token_dim", "patch_size"} <= set(published) or "img_size" in published:
        return None
    known = {} if "max_grid_tokens" not in published else dict(position_side=published["max_grid_tokens"])
    return KarlConfig(
        patch_size=published["patch_size"],
        **known,
        **read_sizes(published),
        base=base or BaseConfig(kind=published["base_tokenizer"]),
    )


def read_sizes(published: Mapping[str, Any]) -> dict[str, Any]:
    """What KARL and ALIT name alike."""
    encoder, decoder = (
        VitSize(
            width=published[f"{half}_width"],
            depth=published[f"{half}_num_layers"],
            num_heads=published[f"{half}_num_heads"],
        )
        for half in ("encoder", "decoder")
    )
    return dict(
        encoder=encoder,
        decoder=decoder,
        bottleneck="vq" if published.get("quantize_latent", True) else "none",
        codebook_size=published["vq_codebook_size"],
        code_dim=published["vq_token_dim"],
        normalize_codes=published["vq_use_l2_norm"],
    )


UNLICENSED = "all rights reserved"
SPENT = "ImageNet100 val, 256x256 centre crop, 256 tokens; arXiv:2507.07995"
ASKED = "mean over ImageNet100 val where an L1 of 0.05 is asked for; arXiv:2507.07995"


def _scores(**spent: float) -> tuple[Score, ...]:
    return tuple(Score(metric=metric, value=value, protocol=SPENT) for metric, value in spent.items())


SCORES = {
    "in1k": (
        *_scores(L1=0.068, LPIPS=0.14, SSIM=0.50, DreamSim=0.11),
        Score(metric="tokens", value=225.2, protocol=ASKED),
    ),
    "in100": _scores(L1=0.070, LPIPS=0.14, SSIM=0.49, DreamSim=0.11),
}


def _weights(name: str, tag: str, link: str, scores: tuple[Score, ...] = ()) -> Weights:
    return Weights(
        tag=tag,
        manual=ManualSource(file=f"{name}_latents.pth", url=f"https://www.dropbox.com/scl/fi/{link}"),
        code_licence=UNLICENSED,
        licence=UNLICENSED,
        scores=scores,
        checked="manifest",
        note="The authors' repository states no licence, for code or weights.",
    )


def _architecture(name: str, config: KarlConfig, **links: str) -> Architecture:
    """`links`: where the file lies, by tag."""
    scores = SCORES if name == "karl_small_vqgan_quantized" else {}
    return Architecture(
        name=name,
        family="karl",
        model="tokzoo.tokenizers.karl.model:Karl",
        config=config,
        token_type="discrete" if config.bottleneck == "vq" else "continuous",
        paper="2507.07995",
        convert="tokzoo.tokenizers.karl.weights:convert",
        read_config="tokzoo.tokenizers.karl.weights:read_config",
        golden="tokzoo.tokenizers.karl.golden:run",
        weights=tuple(_weights(name, tag, link, scores.get(tag, ())) for tag, link in links.items()),
    )


ARCHITECTURES = (
    _architecture(
        "karl_small_vqgan_quantized",
        sizes.KARL_SMALL_VQGAN,
        in1k="4a2zwpceavl92ij56ja3m/karl_small_vqgan_quantized_latents.pth?rlkey=lc49wt2igsdhzfrqwvl62q30z",
        in100="60plmx9s1jsu5axqb1frj/karl_small_vqgan_quantized_latents.pth?rlkey=v0y3fsureyfijy5m28ba4vpl7",
    ),
    _architecture(
        "karl_small_vqgan_continuous",
        sizes.KARL_SMALL_VQGAN_CONTINUOUS,
        in100="ipvxil7ubb41wxs25du5p/karl_small_vqgan_continuous_latents.pth?rlkey=opmua15uarn2yt60yo9j7v5uo",
    ),
    _architecture(
        "karl_small_vae_quantized",
        sizes.KARL_SMALL_VAE,
        in100="gynbn6onb5tm1t8pmca0x/karl_small_vae_quantized_latents.pth?rlkey=93nz1j334ex57myea0qdxu7y5",
    ),
    _architecture(
        "karl_small_vae_continuous",
        sizes.KARL_SMALL_VAE_CONTINUOUS,
        in100="v5t6trgczpaprvoow58zk/karl_small_vae_continuous_latents.pth?rlkey=0tldlcy8ir0lrectdk1o42tch",
    ),
    _architecture("karl_nano", sizes.KARL_NANO),
)
