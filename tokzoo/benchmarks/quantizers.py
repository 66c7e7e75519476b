"""Every quantizer's training step beside the plain way of it and vector-quantize-pytorch. L tokens, C channels.

A step is forward, the sum of the losses, backward; the plain ways are `plain_quantizers`.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
        for name, setting, described, plain, extra in _settings():
            if only is None or name in only:
                torch.manual_seed(0)
                quantizer = shelf.build_quantizer(described).to(device).train()
                latents = torch.randn(tokens // PLANE, PLANE, quantizer.latent_dim, device=device)
                ways: dict[str, Step] = {OURS: _ours(quantizer, entropy="entropy" in name)}
                if plain is not None:
                    ways["plain"] = plain(quantizer)
                if extra is not None and importlib.util.find_spec("vector_quantize_pytorch"):
                    ways["vector-quantize-pytorch"] = _theirs(extra, device)
                calls = {way: _trained(step, latents) for way, step in ways.items()}
                timings = interleaved(calls, rounds=rounds, device=device)
                found.append(Comparison(f"{name}: {setting}, {tokens} tokens", timings, _per_token(timings, tokens)))
    return found


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

Setting = tuple[str, str, dict[str, Any], Callable[[Any], Step] | None, dict[str, Any] | None]
SIZE, DIM = 1024, 8


def _settings() -> list[Setting]:
    vq = dict(codebook_size=SIZE, code_dim=DIM)
    theirs = dict(name="VectorQuantize", dim=DIM, codebook_size=SIZE)
    learned = dict(ema_update=False, learnable_codebook=True)
    codes, bits = f"{SIZE} codes of {DIM}", f"{BITS} bits"
    lfq = dict(name="LFQ", dim=BITS, codebook_size=2**BITS)
    return [
        ("vq", codes, dict(name="vq", **vq), plain_ways.vq, {**theirs, **learned, "rotation_trick": False}),
        ("vq_rotation", codes, dict(name="vq", through="rotation", **vq), None, {**theirs, **learned}),
        (
            "vq_cosine",
            codes,
            dict(name="vq", normalize=True, **vq),
            plain_ways.vq,
            {**theirs, "ema_update": False, "use_cosine_sim": True},
        ),
        ("vq_direction", codes, dict(name="vq_direction", **vq), plain_ways.direction, None),
        ("unit_latents", codes, dict(name="unit_latents", inner=dict(name="vq", **vq)), plain_ways.unit_latents, None),
        ("vq_entropy", codes, dict(name="vq", **vq), plain_ways.vq_entropy, None),
        ("vq_ema", codes, dict(name="vq_ema", **vq), plain_ways.ema, {**theirs, "rotation_trick": False}),
        (
            "revived",
            f"{codes}, every step",
            dict(name="revived", every=1, inner=dict(name="vq_ema", **vq)),
            None,
            {**theirs, "rotation_trick": False, "threshold_ema_dead_code": 1},
        ),
        (
            "kmeans_start",
            f"{codes}, after the start",
            dict(name="kmeans_start", inner=dict(name="vq_ema", **vq)),
            None,
            {**theirs, "rotation_trick": False, "kmeans_init": True},
        ),
        ("vq_sim", codes, dict(name="vq_sim", **vq), plain_ways.vq, dict(name="SimVQ", dim=DIM, codebook_size=SIZE)),
        ("vq_frozen", codes, dict(name="vq_frozen", **vq), plain_ways.frozen, None),
        ("ibq", codes, dict(name="ibq", **vq), plain_ways.ibq, None),
        ("gumbel", codes, dict(name="gumbel", **vq), plain_ways.gumbel, None),
        ("soft_vq", codes, dict(name="soft_vq", **vq), plain_ways.soft, None),
        (
            "shared_index",
            f"{SIZE} codes of 6 and 2",
            dict(name="shared_index", codebook_size=SIZE, code_dims=(6, 2)),
            plain_ways.vq,
            None,
        ),
        (
            "fsq",
            "8 8 8 5 5 5",
            dict(name="fsq", levels=(8, 8, 8, 5, 5, 5)),
            plain_ways.fsq,
            dict(name="FSQ", levels=[8, 8, 8, 5, 5, 5]),
        ),
        ("fsq_listed", "8 8 8 5 5 5", dict(name="fsq_listed", levels=(8, 8, 8, 5, 5, 5)), plain_ways.fsq, None),
        (
            "fsq_symmetric",
            "8 8 8 5 5 5",
            dict(name="fsq_symmetric", levels=(8, 8, 8, 5, 5, 5)),
            plain_ways.fsq_symmetric,
            dict(name="FSQ", levels=[8, 8, 8, 5, 5, 5], preserve_symmetry=True),
        ),
        ("lfq", "18 bits", dict(name="lfq", code_dim=18), plain_ways.sign, None),
        ("bsq", "18 bits", dict(name="bsq", code_dim=18), plain_ways.sign, None),
        ("lfq_entropy", bits, dict(name="lfq", code_dim=BITS), plain_ways.sign_entropy, lfq),
        ("lfq_entropy_18", "18 bits", dict(name="lfq", code_dim=18), None, None),
        ("bsq_entropy", "18 bits, each alone", dict(name="bsq", code_dim=18), None, None),
        (
            "gfq_entropy",
            "4 x 8 bits",
            dict(name="gfq", code_dim=32, num_groups=4),
            None,
            dict(name="LFQ", dim=32, codebook_size=256, num_codebooks=4),
        ),
        ("bae", "16 bits to 256 channels", dict(name="bae", num_bits=16, code_dim=256), plain_ways.bae, None),
        (
            "dimension_wise",
            "16 channels of 64 levels",
            dict(name="dimension_wise", code_dim=16),
            plain_ways.dimension_wise,
            None,
        ),
        (
            "residual",
            f"4 x {codes}",
            dict(name="residual", quantizers=[dict(name="vq", **vq)] * 4),
            plain_ways.residual,
            dict(name="ResidualVQ", dim=DIM, codebook_size=SIZE, num_quantizers=4, rotation_trick=False, **learned),
        ),
        (
            "product",
            f"2 x {codes}",
            dict(name="product", quantizers=[dict(name="vq", **vq)] * 2),
            plain_ways.product,
            {**theirs, **learned, "dim": 2 * DIM, "codebook_dim": DIM, "heads": 2, "separate_codebook_per_head": True},
        ),
        (
            "multi_scale",
            f"{codes}, VAR's ten scales",
            dict(name="multi_scale", quantizer=dict(name="vq", **vq), scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16)),
            plain_ways.multi_scale,
            None,
        ),
        (
            "multi_scale_phi",
            f"{codes}, VAR's ten scales",
            dict(name="multi_scale_phi", quantizer=dict(name="vq", **vq), scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16)),
            plain_ways.multi_scale,
            None,
        ),
        (
            "streaming_average",
            f"{codes}, five layers",
            dict(name="streaming_average", inner=dict(name="vq", **vq), scales=(1, 2, 4, 8, 16)),
            plain_ways.streaming_average,
            None,
        ),
        (
            "perturbed",
            codes,
            dict(name="perturbed", inner=dict(name="vq", **vq), images=0.1, neighbours=100),
            None,
            None,
        ),
        ("kl", "16 channels", dict(name="kl", code_dim=16), None, None),
        ("none", "16 channels", dict(name="none", code_dim=16), None, None),
    ]
