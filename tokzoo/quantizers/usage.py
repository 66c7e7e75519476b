"""Which codes are used, and how evenly. B batch, L tokens, D slots, K values of a slot."""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tokzoo.layers.precision import KeepsFloat32

DECAY = 0.99
DEAD_SHARE = 0.02  # of the mean use, below which a code is dead
MOST_VALUES = 2**22  # of a slot, that are counted one by one


class Usage(NamedTuple):
    """Of one slot: distinct values seen, their share of all, and the perplexity exp(entropy), in codes."""

    used: int
    share: float
    perplexity: float


def code_usage(indices: Tensor, levels: tuple[int, ...]) -> list[Usage]:
    """How a set of tokens uses its codes, slot by slot.

    Shapes:
        indices (B, L) or (B, L, D)

    Raises:
        ValueError: levels of another number of slots.
    """
    slots = indices.reshape(-1, 1) if indices.ndim == 2 else indices.flatten(0, 1)
    if slots.shape[-1] != len(levels):
        raise ValueError(f"these indices have {slots.shape[-1]} slots; levels name {len(levels)}")
    usages = []
    for column, level in zip(slots.unbind(-1), levels, strict=True):
        counts = column.unique(return_counts=True)[1].double()  # a slot of 2^63 values cannot be counted in a table
        shares = counts / counts.sum().clamp_min(1)
        usages.append(Usage(len(counts), len(counts) / level, float((-(shares * shares.log()).sum()).exp())))
    return usages


class Replaceable(Protocol):
    """A codebook whose rows can be put elsewhere."""

    def place(self, latents: Tensor) -> Tensor: ...

    def replace_rows(self, which: Tensor, rows: Tensor) -> None: ...


class CodeUse(KeepsFloat32):
    """Running use of a codebook: which share lives, how evenly, and which codes are dead.

    Args:
        codebook_size: K.

    Raises:
        ValueError: a codebook too large to count.
    """

    counts: Tensor
    float32 = ("counts",)

    def __init__(self, codebook_size: int):
        super().__init__()
        if codebook_size > MOST_VALUES:
            raise ValueError(f"{codebook_size} codes are too many to count one by one; the most is {MOST_VALUES}")
        self.register_buffer("counts", torch.zeros(codebook_size))

    @torch.no_grad()
    def update(self, indices: Tensor) -> None:
        """Takes in the indices of a batch."""
        self.add(torch.bincount(indices.flatten(), minlength=len(self.counts)))

    @torch.no_grad()
    def add(self, counts: Tensor) -> None:
        """Takes in a batch by how often each code came, (K,)."""
        self.counts.lerp_(counts.to(self.counts), 1 - DECAY)

    def dead(self) -> Tensor:
        """Codes below a fiftieth of the mean use, int64 (n,)."""
        return (self.counts <= DEAD_SHARE * self.counts.mean()).nonzero().squeeze(1)

    def usage(self) -> float:
        """Share of codes that are not dead."""
        return float((self.counts > DEAD_SHARE * self.counts.mean()).float().mean())

    def perplexity(self) -> float:
        """exp of the entropy of the running use, in codes."""
        shares = self.counts / self.counts.sum().clamp_min(1e-12)
        return math.exp(float(-(shares * shares.clamp_min(1e-12).log()).sum()))

    @torch.no_grad()
    def revive(self, quantizer: Replaceable, latents: Tensor, generator: torch.Generator) -> int:
        """Moves dead codes onto latents (B, L, C) drawn at random (arXiv:2005.00341, section 3.1); returns how many."""
        dead = self.dead()
        points = quantizer.place(latents.detach()).flatten(0, 1)
        chosen = torch.randint(len(points), (len(dead),), generator=generator, device=generator.device)
        self.moved(quantizer, dead, points[chosen.to(points.device)])
        return len(dead)

    @torch.no_grad()
    def moved(self, quantizer: Replaceable, which: Tensor, rows: Tensor) -> None:
        """Puts `rows` (n, C) where `which` (n,) says, and counts these codes as used on average."""
        quantizer.replace_rows(which, rows)
        self.counts[which] = self.counts.mean()
