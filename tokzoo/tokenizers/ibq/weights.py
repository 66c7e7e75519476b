"""Published weights of IBQ, and how their keys are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo.conversion import use_average
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.ibq import config as sizes
from tokzoo.tokenizers.ibq.config import IbqConfig
from tokzoo.tokenizers.kl16_vae.weights import rename_ldm_cnn
from tokzoo.tokenizers.ldm_sizes import read_ddconfig
from tokzoo.tokenizers.vqgan.weights import QUANTIZER_RULES

if TYPE_CHECKING:
    from torch import Tensor


def convert(state: Mapping[str, "Tensor"], config: IbqConfig) -> dict[str, "Tensor"]:
    """The authors' state dict, or its moving average where it holds one -> ours."""
    return rename_ldm_cnn(use_average(state), QUANTIZER_RULES)


def read_config(published: Mapping[str, Any]) -> IbqConfig | None:
    """The sizes in the authors' own names (their yaml's), or None for another family's."""
    if not {"ddconfig", "n_embed", "embed_dim", "beta"} <= set(published):
        return None
    return IbqConfig(**read_ddconfig(published), code_dim=published["embed_dim"], codebook_size=published["n_embed"])


IN1K = "ImageNet val 50k, 256x256; docs/IBQ.md of TencentARC/SEED-Voken"
PRETRAINED = "ImageNet val 50k, 256x256, pretrained models; docs/IBQ.md of TencentARC/SEED-Voken"
COCO = "MS-COCO val 2017, 256x256; docs/IBQ.md of TencentARC/SEED-Voken"


def _published(name: str, config: IbqConfig, *weights: Weights) -> Architecture:
    return Architecture(
        name=name,
        family="ibq",
        model="tokzoo.tokenizers.ibq.model:Ibq",
        config=config,
        token_type="discrete",
        paper="2412.02692",
        convert="tokzoo.tokenizers.ibq.weights:convert",
        read_config="tokzoo.tokenizers.ibq.weights:read_config",
        golden="tokzoo.tokenizers.ibq.golden:run",
        weights=weights,
    )


def _weights(tag: str, repo: str, file: str, *scores: tuple[str, float, str]) -> Weights:
    return Weights(
        tag=tag,
        sources=(Source(repo=f"TencentARC/IBQ-Tokenizer-{repo}", files=(file,)),),
        code_licence="Apache-2.0",
        licence="Apache-2.0",
        scores=tuple(Score(metric=metric, value=value, protocol=protocol) for metric, value, protocol in scores),
        checked="manifest",
    )


def _in1k(size: int, rfid: float, lpips: float, usage: float) -> Weights:
    scores = (("rFID", rfid, IN1K), ("LPIPS", lpips, IN1K), ("usage", usage, IN1K))
    return _weights("in1k", str(size), f"imagenet256_{size}.ckpt", *scores)


def _pretrained(size: int, rfid: float, psnr: float, coco_rfid: float, coco_psnr: float) -> Weights:
    """Trained on 200M image-text pairs."""
    scores = (
        ("rFID", rfid, PRETRAINED),
        ("PSNR", psnr, PRETRAINED),
        ("rFID", coco_rfid, COCO),
        ("PSNR", coco_psnr, COCO),
    )
    return _weights("pretrain", f"{size}-Pretrain", f"IBQ_pretrain_{size}.ckpt", *scores)


ARCHITECTURES = (
    _published("ibq_1024", sizes.IBQ_1024, _in1k(1024, 2.24, 0.2580, 0.99)),
    _published("ibq_8192", sizes.IBQ_8192, _in1k(8192, 1.87, 0.2437, 0.98)),
    _published(
        "ibq_16384",
        sizes.IBQ_16384,
        _in1k(16384, 1.37, 0.2235, 0.96),
        _pretrained(16384, 2.06, 22.01, 7.67, 21.58),
    ),
    _published(
        "ibq_262144",
        sizes.IBQ_262144,
        _in1k(262144, 1.00, 0.2030, 0.84),
        _pretrained(262144, 1.53, 22.69, 6.79, 22.28),
    ),
)
