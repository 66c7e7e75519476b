"""Digits of a code to indices and back. A code's C digits fall into D slots; each slot's digits make one index."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tokzoo.layers.precision import KeepsFloat32

EXACT = 2**24  # whole numbers below it are exact in float32
MOST_BITS = 63  # of an index
GROUP = 8  # bits of a slot, where a code has more than 63


class Digits(KeepsFloat32):
    """Mixed-radix numbers: digit c of a code has `sizes[c]` values; consecutive digits share a slot.

    Args:
        sizes: values per digit.
        slots: digits per slot, in order; None: all in one.
        first_is_high: a slot's first digit is its most significant one; else the first varies fastest.

    Shapes:
        pack: digits (..., C), any dtype -> int64 (...) for one slot, (..., D) for more; unpack is the way back

    Raises:
        ValueError: slots that do not hold all digits, or one of more than 63 bits.
    """

    float32 = ("table",)

    def __init__(self, sizes: Sequence[int], slots: Sequence[int] | None = None, *, first_is_high: bool = False):
        super().__init__()
        slots = (len(sizes),) if slots is None else tuple(slots)
        if sum(slots) != len(sizes) or min(slots) < 1:
            raise ValueError(f"slots must be whole numbers that add up to {len(sizes)} digits; got {slots}")
        starts = [sum(slots[:slot]) for slot in range(len(slots))]
        members = [list(range(start, start + count)) for start, count in zip(starts, slots, strict=True)]
        self.levels = tuple(math.prod(sizes[digit] for digit in slot) for slot in members)
        if max(self.levels) > 2**MOST_BITS:
            raise ValueError(f"an index holds up to {MOST_BITS} bits; got slots of {self.levels} values: make more")
        weights = [1] * len(sizes)
        for slot in members:
            for position, digit in enumerate(order := slot[::-1] if first_is_high else slot):
                weights[digit] = math.prod(sizes[earlier] for earlier in order[:position])
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        of_digit = [slot for slot, count in enumerate(slots) for _ in range(count)]
        self.register_buffer("of_digit", torch.tensor(of_digit), persistent=False)
        table = torch.zeros(len(sizes), len(slots))
        table[range(len(sizes)), of_digit] = torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("table", table, persistent=False)

    sizes: Tensor
    weights: Tensor
    of_digit: Tensor
    table: Tensor

    def pack(self, digits: Tensor) -> Tensor:
        if max(self.levels) <= EXACT:  # one product of small whole numbers, several times faster than int64 sums
            packed = (digits.to(self.table) @ self.table).long()
        else:
            weighted = digits.long() * self.weights
            packed = weighted.new_zeros(*digits.shape[:-1], len(self.levels)).index_add_(-1, self.of_digit, weighted)
        return packed.squeeze(-1) if len(self.levels) == 1 else packed

    def unpack(self, indices: Tensor) -> Tensor:
        """int64 (...) or (..., D) -> digits (..., C), int64."""
        slots = indices.unsqueeze(-1) if len(self.levels) == 1 else indices
        return slots[..., self.of_digit] // self.weights % self.sizes


def slots_of(count: int) -> tuple[int, ...]:
    """Bits per slot of a code of `count` bits: one slot up to 63, else slots of 8, the last of what is left."""
    if count <= MOST_BITS:
        return (count,)
    return (GROUP,) * (count // GROUP) + ((count % GROUP,) if count % GROUP else ())
