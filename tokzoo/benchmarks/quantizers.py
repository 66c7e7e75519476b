"""Every quantizer's training step beside the plain way of it and vector-quantize-pytorch. L tokens, C channels.

A step is forward, the sum of the losses, backward; the plain ways are `plain_quantizers`.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tokzoo import shelf
from tokzoo.benchmarks import plain_quantizers as plain_ways
from tokzoo.benchmarks.micro import OURS, Comparison
from tokzoo.benchmarks.plain_quantizers import Step
from tokzoo.benchmarks.timing import Timing, interleaved
from tokzoo.parts import Quantizer

TOKENS, PLANE = 65536, 256  # in all; of a sample
BITS = 10  # of the sign codes that are compared: the plain way of 18 would hold 64 GiB


def compare(
    *, device: str = "cpu", rounds: int = 5, tokens: int = TOKENS, only: Sequence[str] | None = None
) -> list[Comparison]:
    """One comparison per quantizer; `only` chooses some by name."""
    found = []
    with torch.inference_mode(False), torch.enable_grad():
        for setting in _settings():
            if only is None or setting.name in only:
                torch.manual_seed(0)
                quantizer = shelf.build_quantizer(setting.described).to(device).train()
                latents = torch.randn(tokens // PLANE, PLANE, quantizer.latent_dim, device=device)
                calls = {way: _trained(step, latents) for way, step in _ways(setting, quantizer, device).items()}
                timings = interleaved(calls, rounds=rounds, device=device)
                title = f"{setting.name}: {setting.what}, {tokens} tokens"
                found.append(Comparison(title, timings, _per_token(timings, tokens)))
    return found


def _ways(setting: "Setting", quantizer: Quantizer, device: str) -> dict[str, Step]:
    ways = {OURS: _ours(quantizer, entropy="entropy" in setting.name)}
    if setting.plain is not None:
        ways["plain"] = setting.plain(quantizer)
    if setting.theirs is not None and importlib.util.find_spec("vector_quantize_pytorch"):
        ways["vector-quantize-pytorch"] = _theirs(setting.theirs, device)
    return ways


def _per_token(timings: Mapping[str, Timing], tokens: int) -> str:
    """Nanoseconds of processor time and bytes of scratch memory a token."""
    parts = []
    for name, timing in timings.items():
        scratch = "" if timing.peak_bytes is None else f", {timing.peak_bytes / tokens:.0f} bytes"
        parts.append(f"{name} {timing.cpu_seconds / tokens * 1e9:.0f} ns{scratch}")
    return "a token: " + "; ".join(parts)


def _trained(step: Step, latents: Tensor) -> Callable[[], None]:
    def call() -> None:
        points = latents.clone().requires_grad_()
        step(points).backward()  # type: ignore[no-untyped-call]

    return call


def _ours(quantizer: Quantizer, *, entropy: bool) -> Step:
    def step(latents: Tensor) -> Tensor:
        quantized = quantizer(latents, sample=quantizer.draws)
        loss = quantized.codes.mean() + sum(quantized.losses.values())
        return loss + quantizer.entropy(latents).loss if entropy else loss

    return step


def _theirs(described: Mapping[str, Any], device: str) -> Step:
    options = {key: value for key, value in described.items() if key != "name"}
    oracle = importlib.import_module("vector_quantize_pytorch")
    quantizer = getattr(oracle, described["name"])(**options).to(device).train()

    def step(latents: Tensor) -> Tensor:
        codes, *others = quantizer(latents)
        losses = [other.mean() for other in others if other.is_floating_point()]
        return torch.stack([codes.mean(), *losses]).sum()

    return step


# --- what is compared -------------------------------------------------------------------------------------------------

SIZE, DIM = 1024, 8
CODES = f"{SIZE} codes of {DIM}"
VQ: dict[str, Any] = dict(codebook_size=SIZE, code_dim=DIM)
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)  # VAR's
LEVELS = (8, 8, 8, 5, 5, 5)
LEARNED: dict[str, Any] = dict(ema_update=False, learnable_codebook=True)


class Setting(NamedTuple):
    """What is compared: a quantizer as the shelf builds it, its plain way, and that of the other library, if any."""

    name: str
    what: str
    described: dict[str, Any]
    plain: Callable[[Any], Step] | None = None
    theirs: dict[str, Any] | None = None


def _settings() -> list[Setting]:
    return [*_codebooks(), *_maintained_codebooks(), *_scalars(), *_several_codes(), *_continuous()]


def _vector_quantize(**options: Any) -> dict[str, Any]:
    return dict(name="VectorQuantize", dim=DIM, codebook_size=SIZE) | options


def _around(name: str, inner: str = "vq", **options: Any) -> dict[str, Any]:
    """A quantizer that wraps another."""
    return dict(name=name, inner=dict(name=inner, **VQ), **options)


def _codebooks() -> list[Setting]:
    """One codebook, learned by gradients."""
    cosine = _vector_quantize(ema_update=False, use_cosine_sim=True)
    return [
        Setting("vq", CODES, dict(name="vq", **VQ), plain_ways.vq, _vector_quantize(rotation_trick=False, **LEARNED)),
        Setting("vq_rotation", CODES, dict(name="vq", through="rotation", **VQ), theirs=_vector_quantize(**LEARNED)),
        Setting("vq_cosine", CODES, dict(name="vq", normalize=True, **VQ), plain_ways.vq, cosine),
        Setting("vq_direction", CODES, dict(name="vq_direction", **VQ), plain_ways.direction),
        Setting("unit_latents", CODES, _around("unit_latents"), plain_ways.unit_latents),
        Setting("vq_entropy", CODES, dict(name="vq", **VQ), plain_ways.vq_entropy),
        Setting(
            "vq_sim", CODES, dict(name="vq_sim", **VQ), plain_ways.vq, dict(name="SimVQ", dim=DIM, codebook_size=SIZE)
        ),
        Setting("vq_frozen", CODES, dict(name="vq_frozen", **VQ), plain_ways.frozen),
        Setting("ibq", CODES, dict(name="ibq", **VQ), plain_ways.ibq),
        Setting("gumbel", CODES, dict(name="gumbel", **VQ), plain_ways.gumbel),
        Setting("soft_vq", CODES, dict(name="soft_vq", **VQ), plain_ways.soft),
        Setting("perturbed", CODES, _around("perturbed", images=0.1, neighbours=100)),
        Setting(
            "shared_index",
            f"{SIZE} codes of 6 and 2",
            dict(name="shared_index", codebook_size=SIZE, code_dims=(6, 2)),
            plain_ways.vq,
        ),
    ]


def _maintained_codebooks() -> list[Setting]:
    """One codebook, whose codes are moved by other means than gradients."""
    theirs = _vector_quantize(rotation_trick=False)
    return [
        Setting("vq_ema", CODES, dict(name="vq_ema", **VQ), plain_ways.ema, theirs),
        Setting(
            "revived",
            f"{CODES}, every step",
            _around("revived", "vq_ema", every=1),
            theirs={**theirs, "threshold_ema_dead_code": 1},
        ),
        Setting(
            "kmeans_start",
            f"{CODES}, after the start",
            _around("kmeans_start", "vq_ema"),
            theirs={**theirs, "kmeans_init": True},
        ),
    ]


def _scalars() -> list[Setting]:
    """Levels or signs of channels."""
    spelled, bits = " ".join(map(str, LEVELS)), f"{BITS} bits"
    theirs = dict(name="FSQ", levels=list(LEVELS))
    symmetric = dict(**theirs, preserve_symmetry=True)
    grouped = dict(name="LFQ", dim=32, codebook_size=256, num_codebooks=4)
    return [
        Setting("fsq", spelled, dict(name="fsq", levels=LEVELS), plain_ways.fsq, theirs),
        Setting("fsq_listed", spelled, dict(name="fsq_listed", levels=LEVELS), plain_ways.fsq),
        Setting(
            "fsq_symmetric", spelled, dict(name="fsq_symmetric", levels=LEVELS), plain_ways.fsq_symmetric, symmetric
        ),
        Setting("lfq", "18 bits", dict(name="lfq", code_dim=18), plain_ways.sign),
        Setting("bsq", "18 bits", dict(name="bsq", code_dim=18), plain_ways.sign),
        Setting(
            "lfq_entropy",
            bits,
            dict(name="lfq", code_dim=BITS),
            plain_ways.sign_entropy,
            dict(name="LFQ", dim=BITS, codebook_size=2**BITS),
        ),
        Setting("lfq_entropy_18", "18 bits", dict(name="lfq", code_dim=18)),
        Setting("bsq_entropy", "18 bits, each alone", dict(name="bsq", code_dim=18)),
        Setting("gfq_entropy", "4 x 8 bits", dict(name="gfq", code_dim=32, num_groups=4), theirs=grouped),
        Setting("bae", "16 bits to 256 channels", dict(name="bae", num_bits=16, code_dim=256), plain_ways.bae),
        Setting(
            "dimension_wise",
            "16 channels of 64 levels",
            dict(name="dimension_wise", code_dim=16),
            plain_ways.dimension_wise,
        ),
    ]


def _several_codes() -> list[Setting]:
    """More than one code for a latent or for a row of them."""
    one, pyramid = dict(name="vq", **VQ), f"{CODES}, VAR's ten scales"
    residual = dict(name="ResidualVQ", dim=DIM, codebook_size=SIZE, num_quantizers=4, rotation_trick=False, **LEARNED)
    heads = _vector_quantize(codebook_dim=DIM, heads=2, separate_codebook_per_head=True, **LEARNED) | {"dim": 2 * DIM}
    return [
        Setting("residual", f"4 x {CODES}", dict(name="residual", quantizers=[one] * 4), plain_ways.residual, residual),
        Setting("product", f"2 x {CODES}", dict(name="product", quantizers=[one] * 2), plain_ways.product, heads),
        *(
            Setting(name, pyramid, dict(name=name, quantizer=one, scales=SCALES), plain_ways.multi_scale)
            for name in ("multi_scale", "multi_scale_phi")
        ),
        Setting(
            "streaming_average",
            f"{CODES}, five layers",
            _around("streaming_average", scales=(1, 2, 4, 8, 16)),
            plain_ways.streaming_average,
        ),
    ]


def _continuous() -> list[Setting]:
    return [Setting(name, "16 channels", dict(name=name, code_dim=16)) for name in ("kl", "none")]
