"""Every quantizer's training step beside the plain way of it and vector-quantize-pytorch. L tokens, C channels.

A step is forward, the sum of the losses, backward. The plain ways are the formulas as papers write them: distances to
all codes, one-hot matrices, tables of all codes.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo import shelf
from tokzoo.benchmarks.micro import OURS, Comparison
from tokzoo.benchmarks.timing import Timing, interleaved
from tokzoo.parts import Quantizer

TOKENS, PLANE = 65536, 256  # in all; of a sample
BITS = 10  # of the sign codes that are compared: the plain way of 18 would hold 64 GiB
Step = Callable[[Tensor], Tensor]  # latents (B, L, C) -> the loss


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


# --- plain ways -------------------------------------------------------------------------------------------------------


def through(latents: Tensor, codes: Tensor) -> Tensor:
    return latents + (codes - latents).detach()


def plain_vq(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        points, rows = quantizer.place(latents), quantizer.rows()
        codes = rows[torch.cdist(points.flatten(0, 1), rows).argmin(-1)].view_as(points)
        loss = F.mse_loss(points, codes.detach()) + F.mse_loss(codes, points.detach())
        return through(points, codes).mean() + loss

    return step


def plain_ema(quantizer: Any) -> Step:
    counts, sums = torch.ones_like(quantizer.average_counts), quantizer.codebook.clone()

    def step(latents: Tensor) -> Tensor:
        points, rows = latents.flatten(0, 1), quantizer.codebook
        one_hot = F.one_hot(torch.cdist(points, rows).argmin(-1), len(rows)).float()
        codes = one_hot @ rows
        with torch.no_grad():
            counts.lerp_(one_hot.sum(0), 0.01)
            sums.lerp_(one_hot.t() @ points, 0.01)
            share = (counts + 1e-5) / (counts.sum() + len(rows) * 1e-5) * counts.sum()
            _ = sums / share.unsqueeze(-1)
        return through(points, codes).mean() + F.mse_loss(points, codes.detach())

    return step


def plain_ibq(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        logits = latents @ quantizer.codebook.t()
        soft = logits.softmax(-1)
        hard = F.one_hot(logits.argmax(-1), soft.shape[-1])
        codes, chosen = (hard + soft - soft.detach()) @ quantizer.codebook, hard.float() @ quantizer.codebook
        loss = F.mse_loss(codes, latents) + F.mse_loss(latents, chosen.detach()) + F.mse_loss(chosen, latents.detach())
        return codes.mean() + loss

    return step


def plain_entropy(logits: Tensor) -> Tensor:
    shares = logits.softmax(-1)
    mean = shares.mean(0)
    return -(shares * (shares + 1e-8).log()).sum(-1).mean() + (mean * (mean + 1e-8).log()).sum()


def plain_vq_entropy(quantizer: Any) -> Step:
    step = plain_vq(quantizer)
    return lambda latents: (
        step(latents) + plain_entropy(-100 * torch.cdist(latents.flatten(0, 1), quantizer.rows()) ** 2)
    )


def plain_sign(quantizer: Any) -> Step:
    powers = 2 ** torch.arange(quantizer.code_dim, device=next(quantizer.buffers()).device)

    def step(latents: Tensor) -> Tensor:
        points = quantizer.place(latents)
        codes = torch.where(points > 0, quantizer.magnitude, -quantizer.magnitude)
        _ = ((points > 0).long() * powers).sum(-1)
        return through(points, codes).mean() + F.mse_loss(points, codes.detach())

    return step


def plain_sign_entropy(quantizer: Any) -> Step:
    step, every = plain_sign(quantizer), quantizer.decode(torch.arange(2**quantizer.code_dim).unsqueeze(0))[0]
    return lambda latents: step(latents) + plain_entropy(200 * quantizer.place(latents).flatten(0, 1) @ every.t())


def plain_fsq(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        bounded = (latents + quantizer.shift).tanh() * quantizer.reach - quantizer.offset
        codes = (bounded + (bounded.round() - bounded).detach()) / quantizer.half_width
        _ = ((codes * quantizer.half_width + quantizer.centre).long() * quantizer.digits.weights).sum(-1)
        return codes.mean()

    return step


def plain_bae(quantizer: Any) -> Step:
    powers = 2 ** torch.arange(quantizer.num_bits)

    def step(latents: Tensor) -> Tensor:
        chances = latents.sigmoid()
        bits = chances.detach().bernoulli()
        again = chances.sigmoid()
        _ = (bits.long() * powers).sum(-1)
        return (through(chances, bits) @ quantizer.table).mean() + (again * (1 - again)).mean()

    return step


def plain_gumbel(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        shares = latents.softmax(-1)
        divergence = (shares * (shares * shares.shape[-1] + 1e-10).log()).sum(-1).mean()
        return (F.gumbel_softmax(latents, hard=True) @ quantizer.codebook).mean() + divergence

    return step


def plain_soft(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        rows, points = F.normalize(quantizer.codebook[0], dim=-1), F.normalize(latents, dim=-1)
        return ((points @ rows.detach().t() / quantizer.temperature).softmax(-1) @ rows).mean()

    return step


def plain_dimension_wise(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        scaled = (latents - quantizer.low) / (quantizer.high - quantizer.low) * 6 - 3
        indices = (scaled.detach().unsqueeze(-1) - quantizer.values).abs().argmin(-1)
        codes = (quantizer.values[indices] + 3) / 6 * (quantizer.high - quantizer.low) + quantizer.low
        return through(latents, codes).mean() + F.mse_loss(latents, codes)

    return step


def plain_residual(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        rest, total, loss = latents, torch.zeros_like(latents), torch.zeros((), device=latents.device)
        for number in range(quantizer.depth):
            rows = quantizer.stage(number).rows()
            codes = rows[torch.cdist(rest.flatten(0, 1), rows).argmin(-1)].view_as(rest)
            loss = loss + F.mse_loss(rest, codes.detach()) + F.mse_loss(codes, rest.detach())
            rest, total = rest - codes.detach(), total + codes
        return through(latents, total).mean() + loss

    return step


def plain_product(quantizer: Any) -> Step:
    steps: list[Step] = [plain_vq(part) for part in quantizer.parts]
    widths = [part.code_dim for part in quantizer.parts]
    return lambda latents: torch.stack(
        [step(part) for step, part in zip(steps, latents.split(widths, dim=-1), strict=True)]
    ).mean()


def plain_multi_scale(quantizer: Any) -> Step:
    rows_of: nn.Module = quantizer.inner[0]

    def step(latents: Tensor) -> Tensor:
        plane = latents.transpose(1, 2).unflatten(-1, quantizer.size)
        rest, total, loss = plane.detach(), torch.zeros_like(plane), torch.zeros((), device=latents.device)
        for height, width in quantizer.scales:
            small = F.interpolate(rest, (height, width), mode="area").permute(0, 2, 3, 1)
            rows = rows_of.rows()  # type: ignore[operator]
            codes = rows[torch.cdist(small.flatten(0, 2), rows).argmin(-1)].view_as(small).permute(0, 3, 1, 2)
            large = F.interpolate(codes, quantizer.size, mode="bicubic")
            total, rest = total + large, rest - large.detach()
            loss = loss + F.mse_loss(plane, total.detach()) + F.mse_loss(total, plane.detach())
        return through(plane, total).mean() + loss / len(quantizer.scales)

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
        ("vq", codes, dict(name="vq", **vq), plain_vq, {**theirs, **learned, "rotation_trick": False}),
        ("vq_rotation", codes, dict(name="vq", through="rotation", **vq), None, {**theirs, **learned}),
        (
            "vq_cosine",
            codes,
            dict(name="vq", normalize=True, **vq),
            plain_vq,
            {**theirs, "ema_update": False, "use_cosine_sim": True},
        ),
        ("vq_entropy", codes, dict(name="vq", **vq), plain_vq_entropy, None),
        ("vq_ema", codes, dict(name="vq_ema", **vq), plain_ema, {**theirs, "rotation_trick": False}),
        ("vq_sim", codes, dict(name="vq_sim", **vq), plain_vq, dict(name="SimVQ", dim=DIM, codebook_size=SIZE)),
        ("vq_frozen", codes, dict(name="vq_frozen", **vq), plain_vq, None),
        ("ibq", codes, dict(name="ibq", **vq), plain_ibq, None),
        ("gumbel", codes, dict(name="gumbel", **vq), plain_gumbel, None),
        ("soft_vq", codes, dict(name="soft_vq", **vq), plain_soft, None),
        (
            "shared_index",
            f"{SIZE} codes of 6 and 2",
            dict(name="shared_index", codebook_size=SIZE, code_dims=(6, 2)),
            plain_vq,
            None,
        ),
        (
            "fsq",
            "8 8 8 5 5 5",
            dict(name="fsq", levels=(8, 8, 8, 5, 5, 5)),
            plain_fsq,
            dict(name="FSQ", levels=[8, 8, 8, 5, 5, 5]),
        ),
        ("lfq", "18 bits", dict(name="lfq", code_dim=18), plain_sign, None),
        ("bsq", "18 bits", dict(name="bsq", code_dim=18), plain_sign, None),
        ("lfq_entropy", bits, dict(name="lfq", code_dim=BITS), plain_sign_entropy, lfq),
        ("lfq_entropy_18", "18 bits", dict(name="lfq", code_dim=18), None, None),
        ("bsq_entropy", "18 bits, each alone", dict(name="bsq", code_dim=18), None, None),
        (
            "gfq_entropy",
            "4 x 8 bits",
            dict(name="gfq", code_dim=32, num_groups=4),
            None,
            dict(name="LFQ", dim=32, codebook_size=256, num_codebooks=4),
        ),
        ("bae", "16 bits to 256 channels", dict(name="bae", num_bits=16, code_dim=256), plain_bae, None),
        (
            "dimension_wise",
            "16 channels of 64 levels",
            dict(name="dimension_wise", code_dim=16),
            plain_dimension_wise,
            None,
        ),
        (
            "residual",
            f"4 x {codes}",
            dict(name="residual", quantizers=[dict(name="vq", **vq)] * 4),
            plain_residual,
            dict(name="ResidualVQ", dim=DIM, codebook_size=SIZE, num_quantizers=4, rotation_trick=False, **learned),
        ),
        ("product", f"2 x {codes}", dict(name="product", quantizers=[dict(name="vq", **vq)] * 2), plain_product, None),
        (
            "multi_scale",
            f"{codes}, VAR's ten scales",
            dict(name="multi_scale", quantizer=dict(name="vq", **vq), scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16)),
            plain_multi_scale,
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
    ]
