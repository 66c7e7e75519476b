"""Finite scalar quantization, with each published bound under its own name. B batch, L tokens, C channels, D slots."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tokzoo.layers.precision import KeepsFloat32, without_autocast
from tokzoo.parts import Quantizer, check_indices, check_width
from tokzoo.quantizers.digits import Digits
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Layout, Quantized

EPS = 1e-3  # by which the outermost values are kept within, or without, reach


class FiniteScalarQuantizer(KeepsFloat32, Quantizer):
    """Rounds each channel to one of `levels[i]` values. arXiv:2309.15505, section 3.1, in the form that is used most.

    bound(x) = tanh(x + s) h - o, with h = (1 + 1e-3)(levels - 1) / 2, o = 1/2 for even levels else 0, s = atanh(o / h),
    which takes 0 to 0. FlexTok, AToken, Cosmos, SignViP and VidTok have this form; the paper's listing another one.

    Args:
        levels: values per channel.
        slots: channels per index, adding up to their number (AToken: eight of six); None: one index.

    Shapes:
        latents (B, L, C) of any float dtype -> codes (B, L, C) float32 in [-1, 1], indices (B, L), or (B, L, D)

    Index order: a slot's channel 0 varies fastest. Codes of even levels reach -1 and not 1. The gradient of rounding is
    1, so that of a code is that of its bound. No losses. A latent that is no number has code NaN and digit 0.

    Raises:
        ValueError: a level below 3: the border between two values would lie at -3.8; `SymmetricFiniteScalarQuantizer`
            takes them.
    """

    least_level = 3
    float32 = ("reach", "offset", "shift", "centre", "half_width")

    def __init__(self, levels: Sequence[int], *, slots: Sequence[int] | None = None):
        super().__init__()
        if not levels or min(levels) < self.least_level:
            hint = "" if min(levels, default=0) != 2 else "; SymmetricFiniteScalarQuantizer takes 2"
            raise ValueError(
                f"each level of {type(self).__name__} must be at least {self.least_level}; got {tuple(levels)}{hint}"
            )
        self.code_dim = len(levels)
        self.digits = Digits(levels, slots)
        for name, values in self._constants(levels).items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

    reach: Tensor
    offset: Tensor
    shift: Tensor
    centre: Tensor
    half_width: Tensor

    def _constants(self, levels: Sequence[int]) -> dict[str, list[float]]:
        half = [(level - 1) * (1 + EPS) / 2 for level in levels]
        offset = [0.0 if level % 2 else 0.5 for level in levels]
        shift = [math.atanh(off / most) for off, most in zip(offset, half, strict=True)]
        width = [float(level // 2) for level in levels]
        return dict(reach=half, offset=offset, shift=shift, centre=width, half_width=width)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot."""
        return self.digits.levels

    def bound(self, latents: Tensor) -> Tensor:
        """Latents (B, L, C) -> values, float32, whose rounding is the code in whole steps."""
        return (latents.float() + self.shift).tanh() * self.reach - self.offset

    def _round(self, bounded: Tensor) -> Tensor:
        return bounded.round()

    @torch.no_grad()
    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        with without_autocast(latents.device):
            return self._pack(self._round(self.bound(latents)))

    def _pack(self, steps: Tensor) -> Tensor:
        return self.digits.pack((steps + self.centre).nan_to_num_(nan=0.0))

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_width(self, latents)
        with without_autocast(latents.device):
            bounded = self.bound(latents)
            steps = self._round(bounded.detach())
            codes = straight_through(bounded, steps) / self.half_width
            return Quantized(codes, self._pack(steps), None, {})

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) or (B, L, D) -> codes (B, L, C) float32."""
        check_indices(indices, self.levels)
        return (self.digits.unpack(indices) - self.centre) / self.half_width


class ListedFiniteScalarQuantizer(FiniteScalarQuantizer):
    """FSQ as in the paper's own listing, arXiv:2309.15505, appendix A.1, and the authors' notebook.

    h = (1 - 1e-3)(levels - 1) / 2 and s = tan(o / h): 0 is not taken to 0 at even levels. Else as the base class.
    """

    least_level = 2

    def _constants(self, levels: Sequence[int]) -> dict[str, list[float]]:
        constants = super()._constants(levels)
        half = [(level - 1) * (1 - EPS) / 2 for level in levels]
        shift = [math.tan(off / most) for off, most in zip(constants["offset"], half, strict=True)]
        return {**constants, "reach": half, "shift": shift}


class SymmetricFiniteScalarQuantizer(FiniteScalarQuantizer):
    """FSQ with codes spread evenly from -1 to 1 at even levels, too. arXiv:2411.19842, section 3.2.

    digit = floor((levels - 1)(tanh(x) + 1) / 2 + 1/2); code = 2 digit / (levels - 1) - 1. Else as the base class.
    """

    least_level = 2

    def _constants(self, levels: Sequence[int]) -> dict[str, list[float]]:
        half = [(level - 1) / 2 for level in levels]
        zero = [0.0] * len(levels)
        return dict(reach=half, offset=zero, shift=zero, centre=half, half_width=half)

    def bound(self, latents: Tensor) -> Tensor:
        return latents.float().tanh() * self.reach  # shift and offset are zero

    def _round(self, bounded: Tensor) -> Tensor:
        return (bounded + (self.reach + 0.5)).floor() - self.reach
