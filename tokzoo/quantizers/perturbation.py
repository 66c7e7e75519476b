"""Codes of training that are sometimes a neighbour's. B batch, L tokens, C channels, N tokens in all."""

import math

import torch
from torch import Tensor

from tokzoo.parts import Quantizer
from tokzoo.quantizers.nearest import nearest_few
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.quantizers.wrapped import WrappedQuantizer, placed, unwrapped
from tokzoo.tokens import Layout, Quantized

MOST_CODES = 2**16  # that are listed to find neighbours among, for a quantizer without a codebook


class PerturbedQuantizer(WrappedQuantizer):
    """In training, some tokens of some images are coded as one of the codes near them. RobusTok, arXiv:2503.08354, 3.

    Neighbours are those of the latent, as the authors' code has it; the text says those of its code. A perturbed token
    keeps its own code with probability 1 / neighbours. Losses and indices are those of the code before.

    Args:
        inner: any discrete quantizer of one slot.
        tokens: alpha, chance of a token to be perturbed in an affected image.
        images: beta, share of a batch that is affected: its first int(B beta) images.
        neighbours: delta, how many codes near a latent are drawn from.

    `strength` scales alpha and delta; `annealed_strength` gives the published schedule of it.

    Raises:
        TypeError: a quantizer of several slots, or whose codes are too many to list.
    """

    def __init__(self, inner: Quantizer, *, tokens: float = 1.0, images: float = 0.1, neighbours: int = 100):
        super().__init__(inner)
        levels = inner.levels or ()
        if len(levels) != 1:
            raise TypeError(f"perturbation is of tokens with one index; {type(inner).__name__} has {len(levels)} slots")
        if unwrapped(inner).__class__.token_layout is not Quantizer.token_layout:
            raise TypeError(f"perturbation is of one code a latent; {type(unwrapped(inner)).__name__} makes a pyramid")
        if not isinstance(inner, VectorQuantizer) and levels[0] > MOST_CODES:
            raise TypeError(f"{levels[0]} codes are too many to list for neighbours; the most is {MOST_CODES}")
        if not (0 <= tokens <= 1 and 0 <= images <= 1 and 1 <= neighbours <= levels[0]):
            raise ValueError(
                f"tokens and images are shares, neighbours is 1 to {levels[0]}; got {tokens}, {images}, {neighbours}"
            )
        self.draws = True
        self.tokens, self.images, self.neighbours = tokens, images, neighbours
        self.strength = 1.0

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        quantized: Quantized = super().forward(latents, layout, sample=sample, generator=generator)
        affected = int(len(latents) * self.images) if self.training else 0
        if not affected:
            return quantized
        with torch.no_grad():
            count = max(1, int(self.neighbours * self.strength))
            total, device = latents.shape[0] * latents.shape[1], _device(generator, latents)
            chance = torch.rand(total, generator=generator, device=device)  # for all, as published; few are looked at
            rank = torch.randint(count, (total,), generator=generator, device=device)
            nearest = self.nearest(latents[:affected], count)
            chance, rank = (drawn[: len(nearest)].to(nearest.device) for drawn in (chance, rank))
            chosen = choose(nearest, chance, rank, self.tokens * self.strength)
            change = torch.zeros_like(quantized.codes)
            change[:affected] = self.inner.decode(chosen.view(affected, -1), layout) - quantized.codes[:affected]
        return quantized._replace(codes=quantized.codes + change)

    def nearest(self, latents: Tensor, count: int) -> Tensor:
        """Indices of the `count` codes nearest to each latent (B, L, C), nearest first: int64 (B L, count)."""
        inner = self.inner
        if isinstance(inner, VectorQuantizer):
            return nearest_few(inner.place(latents).flatten(0, 1), inner.rows(), count)
        listed = torch.arange(math.prod(self.levels or ()), device=latents.device)
        rows = inner.decode(listed.unsqueeze(0)).squeeze(0)
        return nearest_few(placed(inner, latents).flatten(0, 1), rows, count)


def choose(nearest: Tensor, chance: Tensor, rank: Tensor, share: float) -> Tensor:
    """Of each token's nearest codes: the one of `rank` where `chance` is at most `share`, else the nearest.

    Shapes:
        nearest (N, count), chance (N,) in [0, 1), rank (N,) -> (N,)
    """
    return nearest.gather(1, rank.where(chance <= share, 0).unsqueeze(-1)).squeeze(-1)


def annealed_strength(epoch: float, *, start: float = 40, end: float = 120, final: float = 0.5) -> float:
    """The published schedule: 1 before `start`, `final` after `end`, between them 1 - final * (share of the way)."""
    if epoch < start:
        return 1.0
    return final if epoch > end else 1 - (epoch - start) / (end - start) * final


def _device(generator: torch.Generator | None, tensor: Tensor) -> torch.device:
    return tensor.device if generator is None else generator.device
