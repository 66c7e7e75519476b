"""A pyramid of codes whose average is the latent. B batch, C channels, H W the plane, L tokens of all layers."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.parts import Quantizer, check_indices, check_width, mean_square
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Grid, Layout, Pyramid, Quantized


class StreamingAverageQuantizer(Quantizer):
    """Layers of growing grids, each coding what the average of all layers still lacks. SPAE, arXiv:2306.17842, 3.1.

    Layer l looks at the latents on its own dilated grid (picked, not averaged) and codes z + sum over earlier layers of
    (z - e), so that the mean of the layers' codes comes near z; codes are enlarged to the plane by repeating. No code
    of the authors is public: picks in the cells' middle and the repeating are our reading.

    Args:
        inner: of one slot; usually a `FrozenVectorQuantizer` over word vectors.
        scales: sides, coarse first; each divides the last, which is the plane's own.

    Shapes:
        latents (B, H W, C) -> codes (B, H W, C), the mean of the layers; indices (B, L): layer after layer, row-major

    Leading layers decode alone. Losses: `commitment_loss` and `codebook_loss`, mean over layers of the square of what
    the running mean lacks.

    Raises:
        ValueError: scales that do not divide the last, or latents on another plane.
    """

    def __init__(self, inner: Quantizer, scales: Sequence[int]):
        super().__init__()
        if not scales or any(scales[-1] % scale for scale in scales):
            raise ValueError(f"each side must divide the last one; got {tuple(scales)}")
        if inner.levels is None or len(inner.levels) != 1 or inner.latent_dim != inner.code_dim:
            raise ValueError(f"layers need a quantizer of one slot and one width; got a {type(inner).__name__}")
        self.inner = inner
        self.scales = tuple(scales)
        self.code_dim = inner.code_dim

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot, in every layer."""
        return self.inner.levels  # type: ignore[return-value]

    def token_layout(self, layout: Layout) -> Layout:
        """A pyramid of the layers' grids."""
        self._check_layout(layout, None)
        return Pyramid(tuple((scale, scale) for scale in self.scales))

    def code_layout(self, layout: Layout) -> Layout:
        """The plane, of however many layers."""
        return Grid(self.scales[-1], self.scales[-1])

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_width(self, latents)
        self._check_layout(layout, latents.shape[1])
        plane = latents.float().transpose(1, 2).unflatten(-1, (self.scales[-1], self.scales[-1]))
        chosen, commitments, pulls, total = [], [], [], torch.zeros_like(plane)
        for number, scale in enumerate(self.scales):
            lacking = (number + 1) * plane.detach() - total.detach()
            picked = self._picked(lacking, scale)
            indices = self.inner.index(picked)
            if self.training and torch.is_grad_enabled():
                self.inner.learn(picked, indices)
            total = total + self._enlarged(self.inner.decode(indices), scale)
            mean = total / (number + 1)
            chosen.append(indices)
            commitments.append(mean_square(plane - mean.detach()))
            pulls.append(mean_square(mean - plane.detach()))
        losses = {"commitment_loss": torch.stack(commitments).mean(), "codebook_loss": torch.stack(pulls).mean()}
        codes = straight_through(plane, total / len(self.scales)).flatten(2).transpose(1, 2)
        return Quantized(codes, torch.cat(chosen, dim=1), None, losses)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) of all or of some leading layers -> codes (B, H W, C) float32."""
        *_, codes = self.decode_steps(indices)
        return codes

    def decode_steps(self, indices: Tensor) -> Iterator[Tensor]:
        """The running mean (B, H W, C) after each layer, coarse first."""
        check_indices(indices, self.levels)
        start, total = 0, None
        for number, scale in enumerate(self.scales):
            if start == indices.shape[1]:
                return
            own = indices[:, start : start + scale**2]
            if own.shape[1] < scale**2:
                raise ValueError(f"{indices.shape[1]} tokens are not whole layers of {self.scales}")
            codes = self._enlarged(self.inner.decode(own), scale)
            total = codes if total is None else total + codes
            start += scale**2
            yield (total / (number + 1)).flatten(2).transpose(1, 2)

    def _picked(self, plane: Tensor, scale: int) -> Tensor:
        """The middle of each cell of a scale x scale grid: (B, C, H, W) -> (B, scale^2, C)."""
        stride = self.scales[-1] // scale
        return plane[:, :, stride // 2 :: stride, stride // 2 :: stride].flatten(2).transpose(1, 2)

    def _enlarged(self, codes: Tensor, scale: int) -> Tensor:
        plane = codes.transpose(1, 2).unflatten(-1, (scale, scale))
        return F.interpolate(plane, scale_factor=self.scales[-1] // scale, mode="nearest")

    def _check_layout(self, layout: Layout | None, num_tokens: int | None) -> None:
        side = self.scales[-1]
        found = num_tokens if layout is None else layout.num_tokens
        if found != side**2 or (isinstance(layout, Grid) and (layout.height, layout.width) != (side, side)):
            raise ValueError(f"the last layer is {side}x{side}; latents lie on {layout or num_tokens}")
