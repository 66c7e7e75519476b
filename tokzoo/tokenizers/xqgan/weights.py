"""Published weights of XQ-GAN, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.xqgan import config as sizes
from tokzoo.tokenizers.xqgan.config import XqganConfig

if TYPE_CHECKING:
    from torch import Tensor

VIT_RULES: Rules = (
    (r"(encoder|decoder)\.model\.cls_token", r"\1.class_token"),
    (r"(encoder|decoder)\.model\.pos_embed", r"\1.positions"),
    (r"(encoder|decoder)\.model\.blocks\.(\d+)\.ls([12])\.gamma", r"\1.blocks.\2.scale\3"),
    (r"(encoder|decoder)\.model\.blocks\.(.+)", r"\1.blocks.\2"),
    (r"(encoder|decoder)\.model\.norm\.(.+)", r"\1.norm_out.\2"),
    (r"(encoder|decoder)\.lvl_embed\.weight", r"\1.kinds"),
    (r"(encoder|decoder)\.lvl1LC", None),  # which kind each token is of: its order says it
    (r"encoder\.model\.patch_embed\.proj\.(.+)", r"encoder.patch_embed.\1"),
    (r"encoder\.latent_tokens", r"encoder.queries"),
    (r"quant_conv\.(.+)", r"encoder.to_code.\1"),
    (r"decoder\.mask_token", r"decoder.mask_token"),
    (r"decoder\.to_pixel\.model\.(.+)", r"decoder.to_pixels.\1"),
    (r"post_quant_conv\.(.+)", r"decoder.embed.\1"),
    (r"(?:semantic|detail)_model\..+", None),  # teachers: training only
)
BOOKKEEPING: Rules = (
    (r"quantize(?:s\.\d+)?\.ema_vocab_hit_SV", None),  # how often codes were used in training
    (r"quantize(?:s\.\d+)?\.scaler", None),  # sizes of binary codes, all 1 / sqrt(code_dim)
)
TABLES = ("class_token", "mask_token", "positions", "queries")  # they have a batch dimension there


def quantizer_rules(config: XqganConfig) -> Rules:
    """How the tables of a branch are read."""
    scaled = len(config.scales) > 1
    inner = "inner." if config.lookup == "binary" else ""
    return (
        (r"quantizes\.(\d+)\.embedding\.weight", rf"quantizer.parts.\1.{'inner.0.' if scaled else ''}codebook"),
        (r"quantizes\.(\d+)\.quant_resi\.qresi_ls\.(.+)", rf"quantizer.parts.\1.{inner}smoothing.convs.\2"),
        (r"quantize\.embedding\.weight", r"quantizer.codebook"),
    )


def convert(state: Mapping[str, "Tensor"], config: XqganConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = rename_keys(state, (*VIT_RULES, *BOOKKEEPING, *quantizer_rules(config)))
    for key, value in ours.items():
        if key.endswith(TABLES):
            ours[key] = value.flatten(0, 1)
    for key in ("encoder.to_code.weight", "decoder.embed.weight"):  # 1x1 convs there
        ours[key] = ours[key].flatten(1)
    return ours


def read_config(published: Mapping[str, Any]) -> XqganConfig | None:
    """The sizes in the authors' own names (their yaml's), or None for another family's."""
    if not {"product_quant", "v_patch_nums", "codebook_embed_dim", "num_latent_tokens"} <= set(published):
        return None
    if "delta" in published:  # RobusTok
        return None
    vit = published.get("vit", {})
    return XqganConfig(
        image_size=vit.get("img_size", published.get("image_size", 256)),
        patch_size=vit.get("patch_size", 16),
        width=vit.get("embed_dim", 768),
        depth=vit.get("depth", 12),
        num_heads=vit.get("num_heads", 12),
        num_branches=published["product_quant"],
        scales=tuple(published["v_patch_nums"]),
        lookup="binary" if published.get("lfq") else "vq",
        codebook_size=published["codebook_size"],
        code_dim=published["codebook_embed_dim"],
        scale_dropout=published.get("codebook_drop", 0.0),
        keep_scales=published.get("start_drop", 3),
    )


LICENCE = "LicenseRef-Adobe-Research"  # non-commercial
README = "ImageNet val 50k, 256x256; README of lxa9867/ImageFolder"


def scored(metric: str, value: float) -> Score:
    return Score(metric=metric, value=value, protocol=README)


def _weights(repo: str, file: str, *scores: Score, tag: str = "in1k") -> Weights:
    return Weights(
        tag=tag,
        sources=(Source(repo=f"qiuk6/{repo}", files=(file,)),),
        code_licence=LICENCE,
        licence=LICENCE,
        scores=scores,
        checked="manifest",
        note="The licence of the code is for non-commercial research; none is stated for the weights.",
    )


def _published(name: str, config: XqganConfig, *weights: Weights) -> Architecture:
    return Architecture(
        name=name,
        family="xqgan",
        model="tokzoo.tokenizers.xqgan.model:Xqgan",
        config=config,
        token_type="discrete",
        paper="2412.01762",
        convert="tokzoo.tokenizers.xqgan.weights:convert",
        read_config="tokzoo.tokenizers.xqgan.weights:read_config",
        golden="tokzoo.tokenizers.xqgan.golden:run",
        weights=weights,
    )


ARCHITECTURES = (
    _published(
        "xqgan_vq_4096",
        sizes.XQGAN_VQ_4096,
        _weights("RobustTok", "XQGAN-4096.pt", scored("rFID", 0.91), scored("pFID", 6.98)),
    ),
    _published(
        "xqgan_vq_8192",
        sizes.XQGAN_VQ_8192,
        _weights("RobustTok", "XQGAN-8192.pt", scored("rFID", 0.81), scored("pFID", 7.91)),
    ),
    _published(
        "xqgan_vp2_4096", sizes.XQGAN_VP2_4096, _weights("XQ-GAN", "vq-4096/best_ckpt.pt", scored("rFID", 0.90))
    ),
    _published(
        "xqgan_vp2_16384", sizes.XQGAN_VP2_16384, _weights("XQ-GAN", "vq-16384/best_ckpt.pt", scored("rFID", 0.64))
    ),
    _published(
        "xqgan_msvr10p2_4096",
        sizes.XQGAN_MSVR10P2_4096,
        _weights("XQ-GAN", "MSVR10P2-4096/best_ckpt.pt", scored("rFID", 0.80), scored("pFID", 7.23)),
        _weights("XQ-GAN", "IMed-MSVR10P2-4096/IMed361M.pt", tag="imed361m"),
        _weights("XQ-GAN", "LAION-MSVR10P2-4096/laion.pt", tag="laion400m"),
    ),
    _published(
        "xqgan_msvr10p2_8192",
        sizes.XQGAN_MSVR10P2_8192,
        _weights("XQ-GAN", "MSVR10P2-8192/best_ckpt.pt", scored("rFID", 0.70)),
    ),
    _published(
        "xqgan_msvr10p2_16384",
        sizes.XQGAN_MSVR10P2_16384,
        _weights("XQ-GAN", "MSVR10P2-16384/best_ckpt.pt", scored("rFID", 0.67)),
    ),
    _published(
        "xqgan_msbr10p2_4096",
        sizes.XQGAN_MSBR10P2_4096,
        _weights("XQ-GAN", "MSBR10P2-4096/best_ckpt.pt", scored("rFID", 0.86)),
    ),
    _published(
        "xqgan_msbr10p2_16384",
        sizes.XQGAN_MSBR10P2_16384,
        _weights("XQ-GAN", "MSBR10P2-16384/best_ckpt.pt", scored("rFID", 0.78)),
    ),
)
