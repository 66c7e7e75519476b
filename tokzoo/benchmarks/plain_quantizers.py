"""Quantizers as papers write them: distances to all codes, one-hot matrices, tables of all codes. L tokens, C channels.

Each is made of one of our quantizers, for its sizes and weights, and is a training step: latents (B, L, C) -> the loss.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[Tensor], Tensor]  # latents (B, L, C) -> the loss


def through(latents: Tensor, codes: Tensor) -> Tensor:
    return latents + (codes - latents).detach()


def vq(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        points, rows = quantizer.place(latents), quantizer.rows()
        codes = rows[torch.cdist(points.flatten(0, 1), rows).argmin(-1)].view_as(points)
        loss = F.mse_loss(points, codes.detach()) + F.mse_loss(codes, points.detach())
        return through(points, codes).mean() + loss

    return step


def frozen(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        points, rows = quantizer.place(latents), quantizer.rows()
        codes = rows[torch.cdist(points.flatten(0, 1), rows).argmin(-1)].view_as(points)
        return through(points, codes).mean() + F.mse_loss(points, codes)

    return step


def ema(quantizer: Any) -> Step:
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


def ibq(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        logits = latents @ quantizer.codebook.t()
        soft = logits.softmax(-1)
        hard = F.one_hot(logits.argmax(-1), soft.shape[-1])
        codes, chosen = (hard + soft - soft.detach()) @ quantizer.codebook, hard.float() @ quantizer.codebook
        loss = F.mse_loss(codes, latents) + F.mse_loss(latents, chosen.detach()) + F.mse_loss(chosen, latents.detach())
        return codes.mean() + loss

    return step


def entropy(logits: Tensor) -> Tensor:
    shares = logits.softmax(-1)
    mean = shares.mean(0)
    return -(shares * (shares + 1e-8).log()).sum(-1).mean() + (mean * (mean + 1e-8).log()).sum()


def vq_entropy(quantizer: Any) -> Step:
    step = vq(quantizer)
    return lambda latents: step(latents) + entropy(-100 * torch.cdist(latents.flatten(0, 1), quantizer.rows()) ** 2)


def sign(quantizer: Any) -> Step:
    powers = 2 ** torch.arange(quantizer.code_dim, device=next(quantizer.buffers()).device)

    def step(latents: Tensor) -> Tensor:
        points = quantizer.place(latents)
        codes = torch.where(points > 0, quantizer.magnitude, -quantizer.magnitude)
        _ = ((points > 0).long() * powers).sum(-1)
        return through(points, codes).mean() + F.mse_loss(points, codes.detach())

    return step


def sign_entropy(quantizer: Any) -> Step:
    step, every = sign(quantizer), quantizer.decode(torch.arange(2**quantizer.code_dim).unsqueeze(0))[0]
    return lambda latents: step(latents) + entropy(200 * quantizer.place(latents).flatten(0, 1) @ every.t())


def fsq(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        bounded = (latents + quantizer.shift).tanh() * quantizer.reach - quantizer.offset
        codes = (bounded + (bounded.round() - bounded).detach()) / quantizer.half_width
        _ = ((codes * quantizer.half_width + quantizer.centre).long() * quantizer.digits.weights).sum(-1)
        return codes.mean()

    return step


def fsq_symmetric(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        bounded = (latents.tanh() + 1) * quantizer.reach
        digits = (bounded + 0.5).floor()
        _ = (digits.long() * quantizer.digits.weights).sum(-1)
        return ((bounded + (digits - bounded).detach()) / quantizer.reach - 1).mean()

    return step


def direction(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        rows = quantizer.rows()
        alike = F.normalize(latents.flatten(0, 1), dim=-1) @ F.normalize(rows, dim=-1).t()
        codes = rows[alike.argmax(-1)].view_as(latents)
        loss = F.mse_loss(latents, codes.detach()) + F.mse_loss(codes, latents.detach())
        return through(latents, codes).mean() + loss

    return step


def unit_latents(quantizer: Any) -> Step:
    step = vq(quantizer.inner)
    return lambda latents: step(F.normalize(latents, dim=-1))


def bae(quantizer: Any) -> Step:
    powers = 2 ** torch.arange(quantizer.num_bits)

    def step(latents: Tensor) -> Tensor:
        chances = latents.sigmoid()
        bits = chances.detach().bernoulli()
        again = chances.sigmoid()
        _ = (bits.long() * powers).sum(-1)
        return (through(chances, bits) @ quantizer.table).mean() + (again * (1 - again)).mean()

    return step


def gumbel(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        shares = latents.softmax(-1)
        divergence = (shares * (shares * shares.shape[-1] + 1e-10).log()).sum(-1).mean()
        return (F.gumbel_softmax(latents, hard=True) @ quantizer.codebook).mean() + divergence

    return step


def soft(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        rows, points = F.normalize(quantizer.codebook[0], dim=-1), F.normalize(latents, dim=-1)
        return ((points @ rows.detach().t() / quantizer.temperature).softmax(-1) @ rows).mean()

    return step


def dimension_wise(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        scaled = (latents - quantizer.low) / (quantizer.high - quantizer.low) * 6 - 3
        indices = (scaled.detach().unsqueeze(-1) - quantizer.values).abs().argmin(-1)
        codes = (quantizer.values[indices] + 3) / 6 * (quantizer.high - quantizer.low) + quantizer.low
        return through(latents, codes).mean() + F.mse_loss(latents, codes)

    return step


def residual(quantizer: Any) -> Step:
    def step(latents: Tensor) -> Tensor:
        rest, total, loss = latents, torch.zeros_like(latents), torch.zeros((), device=latents.device)
        for number in range(quantizer.depth):
            rows = quantizer.stage(number).rows()
            codes = rows[torch.cdist(rest.flatten(0, 1), rows).argmin(-1)].view_as(rest)
            loss = loss + F.mse_loss(rest, codes.detach()) + F.mse_loss(codes, rest.detach())
            rest, total = rest - codes.detach(), total + codes
        return through(latents, total).mean() + loss / quantizer.depth

    return step


def product(quantizer: Any) -> Step:
    steps: list[Step] = [vq(part) for part in quantizer.parts]
    widths = [part.code_dim for part in quantizer.parts]
    return lambda latents: torch.stack(
        [step(part) for step, part in zip(steps, latents.split(widths, dim=-1), strict=True)]
    ).mean()


def multi_scale(quantizer: Any) -> Step:
    rows_of: nn.Module = quantizer.inner[0]

    def step(latents: Tensor) -> Tensor:
        plane = latents.transpose(1, 2).unflatten(-1, quantizer.size)
        rest, total, loss = plane.detach(), torch.zeros_like(plane), torch.zeros((), device=latents.device)
        for number, (height, width) in enumerate(quantizer.scales):
            small = F.interpolate(rest, (height, width), mode="area").permute(0, 2, 3, 1)
            rows = rows_of.rows()  # type: ignore[operator]
            codes = rows[torch.cdist(small.flatten(0, 2), rows).argmin(-1)].view_as(small).permute(0, 3, 1, 2)
            large = F.interpolate(codes, quantizer.size, mode="bicubic")
            large = large if quantizer.smoothing is None else quantizer.smoothing(large, number)
            total, rest = total + large, rest - large.detach()
            loss = loss + F.mse_loss(plane, total.detach()) + F.mse_loss(total, plane.detach())
        return through(plane, total).mean() + loss / len(quantizer.scales)

    return step


def streaming_average(quantizer: Any) -> Step:
    side = quantizer.scales[-1]

    def step(latents: Tensor) -> Tensor:
        plane, rows = latents.unflatten(1, (side, side)), quantizer.inner.rows()
        total, loss = torch.zeros_like(plane), torch.zeros((), device=latents.device)
        for number, scale in enumerate(quantizer.scales):
            stride = side // scale
            lacking = ((number + 1) * plane - total).detach()[:, stride // 2 :: stride, stride // 2 :: stride]
            codes = rows[torch.cdist(lacking.flatten(0, 2), rows).argmin(-1)].view_as(lacking)
            total = total + codes.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
            mean = total / (number + 1)
            loss = loss + F.mse_loss(plane, mean.detach()) + F.mse_loss(mean, plane.detach())
        return through(plane, total / len(quantizer.scales)).mean() + loss / len(quantizer.scales)

    return step
