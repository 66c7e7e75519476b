"""Published weights of ALIT, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules
from tokzoo.registry import Architecture, ManualSource, Score, Weights
from tokzoo.tokenizers.alit import config as sizes
from tokzoo.tokenizers.alit.config import AlitConfig
from tokzoo.tokenizers.karl.config import BaseConfig
from tokzoo.tokenizers.karl.weights import SPENT, UNLICENSED, convert_with, read_sizes

if TYPE_CHECKING:
    from torch import Tensor

RULES: Rules = (  # what TiTok's VIT_RULES do not read
    (r"encoder_ln_pre\.(.+)", r"encoder.norm_in.\1"),
    (r"encoder_ln_post\.(.+)", r"encoder.norm_out.\1"),
    (r"encoder_ln_recursive\.(.+)", r"encoder.norm_round.\1"),
    (r"(encoder|decoder)_positional_embedding", r"\1.positions"),
    (r"(encoder|decoder)_class_embedding", r"\1.class_token"),
    (r"encoder_mask_token", r"encoder.settled_token"),
    (r"decoder_mask_token", r"decoder.mask_token"),
    (r"latent_token_positional_embedding", r"encoder.query_positions"),
    (r"timestep_embedding", r"encoder.round_embeddings"),
    (r"patch_embed\.(.+)", r"encoder.patch_embed.\1"),
    (r"pre_quantizer_mlp\.(.+)", r"encoder.to_code.\1"),
    (r"gan_losses\..+", None),  # discriminators and LPIPS
)


def convert(state: Mapping[str, "Tensor"], config: AlitConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = convert_with(state, RULES, config.base)
    if "decoder.code_positions" in ours:  # always 256 there, of which the first are used
        ours["decoder.code_positions"] = ours["decoder.code_positions"][: config.max_tokens]
    return ours


def read_config(published: Mapping[str, Any], *, base: BaseConfig | None = None) -> AlitConfig | None:
    """The sizes in the names of the authors' constructor, or None for another family's.

    Args:
        base: the base tokenizer; None: the published one that `base_tokenizer` names.
    """
    if not {"encoder_num_layers", "vq_token_dim", "img_size", "max_rollout_iters"} <= set(published):
        return None
    return AlitConfig(
        image_size=published["img_size"],
        patch_size=published["patch_size"],
        round_tokens=published["num_init_latent_tokens"],
        num_rounds=published["max_rollout_iters"],
        **read_sizes(published),
        base=base or BaseConfig(kind=published["base_tokenizer"]),
    )


SCORES = {  # KARL's authors measured both
    tag: tuple(Score(metric=metric, value=value, protocol=SPENT) for metric, value in table.items())
    for tag, table in {
        "in1k": {"L1": 0.075, "SSIM": 0.45, "DreamSim": 0.10},
        "in100": {"L1": 0.076, "LPIPS": 0.16, "SSIM": 0.44, "DreamSim": 0.10},
    }.items()
}


def _architecture(name: str, config: AlitConfig, **links: str) -> Architecture:
    """`links`: where the file lies, by tag."""
    scores = SCORES if name == "alit_small_vqgan_quantized" else {}
    return Architecture(
        name=name,
        family="alit",
        model="tokzoo.tokenizers.alit.model:Alit",
        config=config,
        token_type="discrete" if config.bottleneck == "vq" else "continuous",
        paper="2411.02393",
        convert="tokzoo.tokenizers.alit.weights:convert",
        read_config="tokzoo.tokenizers.alit.weights:read_config",
        golden="tokzoo.tokenizers.alit.golden:run",
        weights=tuple(
            Weights(
                tag=tag,
                manual=ManualSource(
                    file=link.partition("?")[0].partition("/")[2], url=f"https://www.dropbox.com/scl/fi/{link}"
                ),
                code_licence=UNLICENSED,
                licence=UNLICENSED,
                scores=scores.get(tag, ()),
                checked="manifest",
                note="The authors' repository states no licence, for code or weights.",
            )
            for tag, link in links.items()
        ),
    )


ARCHITECTURES = (
    _architecture(
        "alit_small_vqgan_quantized",
        sizes.ALIT_SMALL_VQGAN,
        in1k="u8jyro5wysttp5mvs6gir/alit_vqgan_small_quantized_latent.pth?rlkey=1py1s9755gjhdyw5ifd9h2wff",
        in100="iszluhiop09z3afo2gw5f/alit_small_vqgan_quantized_latents.pth?rlkey=klt0zgeunb60l1snuzhjdzdq2",
    ),
    _architecture(
        "alit_base_vqgan_quantized",
        sizes.ALIT_BASE_VQGAN,
        in100="6cygifz37knpqtkxgfj81/alit_base_vqgan_quantized_latents.pth?rlkey=r8hn0d4d8j8eg2wjorzl9c67s",
    ),
    _architecture(
        "alit_semilarge_vqgan_quantized",
        sizes.ALIT_SEMILARGE_VQGAN,
        in100="wcp7s6w86slh1yy4m3egc/alit_semilarge_vqgan_quantized_latents.pth?rlkey=cf2s13c6ah3ru4ly9tb911gi7",
    ),
    _architecture(
        "alit_small_vqgan_continuous",
        sizes.ALIT_SMALL_VQGAN_CONTINUOUS,
        in100="twbxjch2hutxjsy3sd85y/alit_small_vqgan_continuous_latents.pth?rlkey=68ycbjp6upkrxt22w5rm58cjv",
    ),
    _architecture(
        "alit_small_vae_quantized",
        sizes.ALIT_SMALL_VAE,
        in100="svykasoyyoapfzlghjuz2/alit_small_vae_quantized_latents.pth?rlkey=dtvyj74zq593zc7c63miwkhs3",
    ),
    _architecture(
        "alit_small_vae_continuous",
        sizes.ALIT_SMALL_VAE_CONTINUOUS,
        in100="bq2yzr7dufvrpnycb856b/alit_small_vae_continuous_latents.pth?rlkey=hjx6jpr6vvfzhtgkp1cc1rnrs",
    ),
)
