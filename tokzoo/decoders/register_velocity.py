"""FlexTok's velocity: patches of noise beside registers. B batch, P patches, N registers, D width, T moments."""

from collections.abc import Sequence as PySequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.decoders.flow import Velocity
from tokzoo.diffusion.time import TimeEmbedding
from tokzoo.layers.normed_transformer import ModulatedBlock, plain_norm, spread
from tokzoo.layers.patches import patchify, to_map, to_tokens, unpatchify
from tokzoo.layers.wave_positions import wave_positions
from tokzoo.tokens import Features

PATCHES, REGISTERS = 0, 1  # groups of tokens with modulation of their own


class Moment(NamedTuple):
    """One moment for all, or one for each picture, as modulation: per block (T, 2, 6, D), of the head (T, 2, D)."""

    blocks: tuple[Tensor, ...]
    head: Tensor


class Seen(NamedTuple):
    """Patches (B, P, D) after the last block, and after another one that was asked for."""

    patches: Tensor
    tapped: Tensor | None


class RegisterVelocity(Velocity):
    """A transformer over noisy patches and N registers that all read each other. FlexTok, arXiv:2502.13967, sec. 3.2.

    Time scales, shifts and gates patches and registers in different ways. Of a row of codes that is cut short, or has
    invalid ones, the rest is the mask token, which has no position; without a condition all are the null token.
    Registers are rewritten by what they read of the patches, and modulated by time: their keys and values are new in
    every step, and only their embedding is kept.

    Args:
        channels: of the space.
        patch_size: places per side of a patch.
        grid_size: patches per side that there are positions for; a smaller picture takes those at the top left.
        num_registers: N.
        code_dim: channels of a code.
        width, depth, num_heads: of the transformer.
        max_time: what the authors' code divides 1000 by, to get the frequency of the fastest wave of time.
    """

    def __init__(
        self,
        *,
        channels: int,
        patch_size: int,
        grid_size: int,
        num_registers: int,
        code_dim: int,
        width: int,
        depth: int,
        num_heads: int,
        max_time: float = 1000.0,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.embed = nn.Linear(code_dim, width)
        self.register_positions = nn.Parameter(torch.randn(num_registers, width) * width**-0.5)
        self.mask_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.null_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.patch_embed = nn.Linear(channels * patch_size**2, width)
        self.positions = nn.Parameter(wave_positions(width, grid_size, grid_size), requires_grad=False)  # (D, g, g)
        self.time = TimeEmbedding(width, period=256.0, scale=1000.0 / max_time)
        self.blocks = nn.ModuleList(ModulatedBlock(width, num_heads, num_groups=2) for _ in range(depth))
        self.head_modulation = nn.Linear(width, 2 * width)
        self.to_patch = nn.Linear(width, channels * patch_size**2)

    def condition(self, codes: Features) -> Tensor:
        """Codes (B, n, code_dim), n up to N -> registers (B, N, D)."""
        length = codes.latents.shape[1]
        registers = self.embed(codes.latents) + self.register_positions[:length]
        if codes.valid is not None:
            registers = torch.where(codes.valid.unsqueeze(-1), registers, self.mask_token)
        missing = len(self.register_positions) - length
        return torch.cat([registers, self.mask_token.expand(len(registers), missing, -1)], dim=1)

    def null(self, condition: Tensor) -> Tensor:
        return self.null_token.expand_as(condition)

    def moments(self, times: Tensor) -> PySequence[Moment]:
        """Each weight of the modulations is read once for all `times` (T,), not once a step."""
        every = self.moment(times)
        return [
            Moment(tuple(block[number : number + 1] for block in every.blocks), every.head[number : number + 1])
            for number in range(len(times))
        ]

    def moment(self, times: Tensor) -> Moment:
        """`times` (T,), T of B or 1: a moment of `forward` where pictures are at different ones, as in training."""
        embedded = self.time(times)
        blocks = tuple(block.modulate(embedded) for block in self.blocks)  # type: ignore[operator]
        return Moment(blocks, self.head_modulation(F.silu(embedded)).unflatten(-1, (2, -1)))

    def forward(self, place: Tensor, moment: Moment, condition: Tensor) -> Tensor:
        return self.head(self.look(place, moment, condition).patches, moment, place)

    def look(self, place: Tensor, moment: Moment, condition: Tensor, *, tap: int | None = None) -> Seen:
        """What the patches hold at the end, and after block `tap` (for REPA, arXiv:2410.06940)."""
        rows, columns = (side // self.patch_size for side in place.shape[2:])
        positions = to_tokens(self.positions[None, :, :rows, :columns])
        patches = self.patch_embed(patchify(place, self.patch_size)) + positions  # (B, P, D)
        num_patches, tapped = patches.shape[1], None
        hidden = torch.cat([patches, condition], dim=1)  # (B, P + N, D)
        groups = (torch.arange(hidden.shape[1], device=hidden.device) >= num_patches).long() * REGISTERS
        for number, (block, modulation) in enumerate(zip(self.blocks, moment.blocks, strict=True)):
            hidden = block(hidden, spread(modulation, groups))
            if number == tap:
                tapped = hidden[:, :num_patches]
        return Seen(hidden[:, :num_patches], tapped)

    def head(self, patches: Tensor, moment: Moment, place: Tensor) -> Tensor:
        """Patches (B, P, D) -> velocity in the shape of `place`."""
        shift, scale = moment.head.unsqueeze(2).unbind(1)  # (T, 1, D)
        values = self.to_patch(plain_norm(patches) * (1 + scale) + shift)
        rows, columns = (side // self.patch_size for side in place.shape[2:])
        return unpatchify(to_map(values, rows, columns), self.patch_size)
