"""Registers that read a picture, each seeing those before it. B batch, P patches, N registers, D width, C code_dim."""

import torch
from torch import Tensor, nn

from tokzoo.layers.normed_transformer import NormedBlock, plain_norm
from tokzoo.layers.patches import patchify, to_map, to_tokens
from tokzoo.layers.wave_positions import wave_positions
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Grid, Sequence


class RegisterEncoder(Encoder):
    """An ordered row of tokens: patches read each other, a register all patches and the registers before it.

    So the first k registers are the same, however many follow. FlexTok, arXiv:2502.13967, section 3.1.

    Args:
        latents: pixels -> latents on a grid, of which patches are made, called with `sample` and `generator`; None:
            patches of pixels in [-1, 1].
        channels: of the latents; 3 without.
        patch_size: latents (or pixels) per side of a patch.
        grid_size: patches per side that there are positions for; a smaller picture takes those at the top left.
        num_registers: N, the most tokens.
        width, depth, num_heads: of the transformer.
        code_dim: C, channels out.

    Shapes:
        images (B, 3, H, W) in [0, 1] -> latents (B, N, C), or (B, num_tokens, C)
    """

    def __init__(
        self,
        *,
        latents: Encoder | None,
        channels: int,
        patch_size: int,
        grid_size: int,
        num_registers: int,
        width: int,
        depth: int,
        num_heads: int,
        code_dim: int,
    ):
        super().__init__()
        self.latents = latents
        self.patch_size = patch_size
        self.patch_embed = nn.Linear(channels * patch_size**2, width)
        self.positions = nn.Parameter(wave_positions(width, grid_size, grid_size), requires_grad=False)  # (D, g, g)
        self.registers = nn.Parameter(torch.randn(num_registers, width) * width**-0.5)
        self.blocks = nn.ModuleList(NormedBlock(width, num_heads) for _ in range(depth))
        self.to_code = nn.Linear(width, code_dim)

    def forward(
        self,
        images: Tensor,
        *,
        num_tokens: int | None = None,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Features:
        """`num_tokens`: only the first so many registers are made; `sample`, `generator`: for the latents' encoder."""
        return self.tokenize(self.latent_map(images, sample=sample, generator=generator), num_tokens)

    def tokenize(self, latents: Tensor, num_tokens: int | None = None) -> Features:
        """Latents (B, channels, h, w) -> what becomes the tokens."""
        _, registers = self.read(latents, num_tokens)
        return Features(self.to_code(plain_norm(registers)), Sequence(registers.shape[1]))

    def latent_map(self, images: Tensor, *, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Images -> what patches are made of, (B, channels, h, w)."""
        if self.latents is None:
            return images * 2 - 1
        features = self.latents(images, sample=sample, generator=generator)
        if not isinstance(features.layout, Grid):
            raise ValueError(f"a register encoder reads latents on a Grid; got {features.layout}")
        return to_map(features.latents, features.layout.height, features.layout.width)

    def read(self, latents: Tensor, num_tokens: int | None = None) -> tuple[Tensor, Tensor]:
        """Latents (B, channels, h, w) -> patches (B, P, D) and registers (B, N, D) after the last block."""
        rows, columns = (side // self.patch_size for side in latents.shape[2:])
        positions = to_tokens(self.positions[None, :, :rows, :columns])
        patches = self.patch_embed(patchify(latents, self.patch_size)) + positions  # (B, P, D)
        registers = self.registers[:num_tokens]
        mask = causal_last_mask(patches.shape[1], len(registers), device=patches.device)
        hidden = torch.cat([patches, registers.expand(len(patches), -1, -1)], dim=1)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return hidden[:, : -len(registers)], hidden[:, -len(registers) :]


def causal_last_mask(num_patches: int, num_registers: int, *, device: torch.device | None = None) -> Tensor:
    """What each register may read, bool (N, P + N): every patch, itself and the registers before it."""
    return torch.ones(num_registers, num_patches + num_registers, dtype=torch.bool, device=device).tril(num_patches)
