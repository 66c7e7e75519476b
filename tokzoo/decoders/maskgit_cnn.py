"""The convolutional decoder of MaskGIT's VQGAN. B batch, C channels, H W pixels."""

from collections.abc import Sequence as PySequence

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.convs import BranchResBlock, group_norm
from tokzoo.layers.patches import to_map
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid


class MaskgitCnnDecoder(Decoder):
    """The mirror of `MaskgitCnnEncoder`: residual levels with nearest-neighbour upsampling. MaskGIT, arXiv:2202.04200.

    Args: as the encoder's; levels are listed from full resolution (0) to the coarsest.

    Shapes:
        codes (B, h * w, code_dim) on Grid(h, w) -> images (B, 3, h * f, w * f), nominally in [0, 1],
        with f = 2 ** (levels - 1)
    """

    def __init__(
        self,
        *,
        width: int,
        multipliers: PySequence[int],
        num_blocks: int,
        code_dim: int,
        num_middle_blocks: int | None = None,
    ):
        super().__init__()
        widths = [width * multiplier for multiplier in multipliers]
        self.conv_in = nn.Conv2d(code_dim, widths[-1], 3, padding=1)
        self.middle = nn.ModuleList(
            BranchResBlock(widths[-1], widths[-1]) for _ in range(num_middle_blocks or num_blocks)
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(BranchResBlock(before if i == 0 else after, after) for i in range(num_blocks))
            for before, after in zip([*widths[1:], widths[-1]], widths, strict=True)
        )
        self.upsamplers = nn.ModuleDict(
            {str(level): nn.Conv2d(widths[level], widths[level], 3, padding=1) for level in range(1, len(widths))}
        )
        self.norm_out = group_norm(width * multipliers[0])
        self.conv_out = nn.Conv2d(width * multipliers[0], 3, 3, padding=1)

    def forward(self, codes: Features) -> Tensor:
        if not isinstance(codes.layout, Grid):
            raise ValueError(f"a convolutional decoder reads codes on a Grid; got {codes.layout}")
        return self.decode_map(to_map(codes.latents, codes.layout.height, codes.layout.width))

    def decode_map(self, hidden: Tensor) -> Tensor:
        """A map of codes (B, code_dim, h, w) -> images."""
        hidden = self.conv_in(hidden)
        for block in self.middle:
            hidden = block(hidden)
        for number in reversed(range(len(self.levels))):
            for block in self.levels[number]:  # type: ignore[attr-defined]
                hidden = block(hidden)
            if number:
                hidden = self.upsamplers[str(number)](F.interpolate(hidden, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(hidden)))


class CodeMixtureHead(nn.Module):
    """Pixels from logits over a pixel codebook: the decoder reads the expected code, not the likeliest one.

    The second stage of TiTok, arXiv:2406.07550, section 3.3.

    Shapes:
        hidden (B, D, h, w) -> images (B, 3, H, W)
    """

    def __init__(self, *, logits: nn.Module, codebook_size: int, code_dim: int, decoder: MaskgitCnnDecoder):
        super().__init__()
        self.logits = logits
        self.codebook = nn.Embedding(codebook_size, code_dim)
        self.decoder = decoder

    def forward(self, hidden: Tensor) -> Tensor:
        return self.paint(self.predict(hidden))

    def predict(self, hidden: Tensor) -> Tensor:
        """The logits (B, K, h, w) that the softmax reads."""
        return self.logits(hidden)

    def expected(self, logits: Tensor) -> Tensor:
        """Logits (B, K, h, w) -> the mean code by their shares (B, C, h, w)."""
        return (logits.softmax(dim=1).permute(0, 2, 3, 1) @ self.codebook.weight).permute(0, 3, 1, 2)

    def paint(self, logits: Tensor) -> Tensor:
        """Logits (B, K, h, w) -> images."""
        return self.decoder.decode_map(self.expected(logits))
