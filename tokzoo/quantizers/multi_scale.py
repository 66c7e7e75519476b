"""Codes of a plane at growing scales. B batch, C channels, S scales, H W the finest, L tokens = sum of h w."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.parts import Quantizer, check_indices, check_width, mean_square
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Grid, Layout, Pyramid, Quantized

Upsampling = Literal["bicubic", "bilinear"]


class MultiScaleQuantizer(Quantizer):
    """Scale k codes what scales before it have left of a plane, shrunk to its size. VAR, arXiv:2404.02905, section 3.2.

    Args:
        quantizer: of one slot; the one that all scales share, or a list with one for each.
        scales: sides, or (height, width), coarse first; the last is the plane's own size.
        smoothing: phi, what befalls the enlarged codes (`ScaleSmoothing`); None leaves them.
        upsampling: `bicubic` (VAR, XQ-GAN, TokenFlow) or `bilinear` (Infinity).
        dropout: in training, the first `dropout` share of a batch keeps a random number of leading scales, at least
            `keep_at_least` (ImageFolder, arXiv:2410.01756, section 3.3).

    Shapes:
        latents (B, H W, C), row-major -> codes (B, H W, C), indices (B, L): scale after scale, each row-major

    Fewer scales decode, too: the indices of a `Pyramid` of leading ones. Gradients pass straight through. Losses:
    `commitment_loss` and `codebook_loss`, mean over scales of the square of what is left after each.

    Raises:
        ValueError: no scales; a layout of another size.
    """

    def __init__(
        self,
        quantizer: Quantizer | Sequence[Quantizer],
        scales: Sequence[int | Sequence[int]],
        *,
        smoothing: nn.Module | None = None,
        upsampling: Upsampling = "bicubic",
        dropout: float = 0.0,
        keep_at_least: int = 1,
    ):
        super().__init__()
        inner = [quantizer] if isinstance(quantizer, Quantizer) else list(quantizer)
        self.scales = tuple((scale, scale) if isinstance(scale, int) else (scale[0], scale[1]) for scale in scales)
        if not self.scales or len(inner) not in (1, len(self.scales)):
            raise ValueError(f"give scales, with one quantizer or one for each; got {len(self.scales)}, {len(inner)}")
        for each in inner:
            if each.levels != inner[0].levels or each.levels is None or each.latent_dim != each.code_dim:
                raise ValueError("the scales' quantizers must be discrete, of the same levels and the same width")
        self.inner = nn.ModuleList(inner)
        self.code_dim = inner[0].code_dim
        self.smoothing = smoothing
        self.upsampling: Upsampling = upsampling
        self.dropout = dropout
        self.draws = dropout > 0 or any(each.draws for each in inner)
        self.keep_at_least = keep_at_least

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot, at every scale."""
        return self.inner[0].levels  # type: ignore[return-value]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the plane."""
        return self.scales[-1]

    def token_layout(self, layout: Layout) -> Layout:
        """A pyramid of the plane's scales."""
        self._check_layout(layout)
        return Pyramid(self.scales)

    def code_layout(self, layout: Layout) -> Layout:
        """The plane, of however many scales."""
        return Grid(*self.size)

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
        with without_autocast(latents.device):
            plane = self._plane(latents.float())
            kept = self._kept_scales(len(plane), generator)
            total = torch.zeros_like(plane)
            chosen, commitments, pulls = [], [], []
            for number, (indices, codes, _) in enumerate(self._steps(plane.detach())):
                if kept is not None:
                    codes = codes * (kept > number).to(codes).view(-1, 1, 1, 1)
                total = total + codes
                chosen.append(indices)
                commitments.append(mean_square(plane - total.detach()))
                pulls.append(mean_square(total - plane.detach()))
            losses = {"commitment_loss": torch.stack(commitments).mean(), "codebook_loss": torch.stack(pulls).mean()}
            codes = straight_through(plane, total).flatten(2).transpose(1, 2)
            return Quantized(codes, torch.cat(chosen, dim=1), None, losses)

    @torch.no_grad()
    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        with without_autocast(latents.device):
            return torch.cat([indices for indices, *_ in self._steps(self._plane(latents.float()))], dim=1)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) of all or of some leading scales -> codes (B, H W, C) float32."""
        *_, total = self.decode_steps(indices)
        return total

    def decode_steps(self, indices: Tensor) -> Iterator[Tensor]:
        """The codes (B, H W, C) after each scale, coarse first."""
        check_indices(indices, self.levels)
        total = None
        with without_autocast(indices.device):
            for number, own in enumerate(self._by_scale(indices)):
                codes = self._enlarged(self._inner(number).decode(own), number)
                total = codes if total is None else total + codes
                yield total.flatten(2).transpose(1, 2)

    def next_scale_inputs(self, indices: Tensor) -> Tensor:
        """What a next-scale generator reads to predict scales 1..: the running sum, shrunk to each next size.

        Shapes:
            indices (B, L) -> (B, L - the first scale's tokens, C)
        """
        inputs = []
        for number, codes in enumerate(self.decode_steps(indices)):
            if number + 1 < len(self.scales):
                inputs.append(self._shrunk(self._plane(codes), number + 1).flatten(2).transpose(1, 2))
        return torch.cat(inputs, dim=1)

    def _steps(self, plane: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each scale: its indices (B, h w), its enlarged codes (B, C, H, W), what is left after it."""
        rest = plane
        for number in range(len(self.scales)):
            inner = self._inner(number)
            latents = self._shrunk(rest, number).flatten(2).transpose(1, 2)
            indices = inner.index(latents)
            if self.training and torch.is_grad_enabled():
                inner.learn(latents, indices)
            codes = self._enlarged(inner.decode(indices), number)
            rest = rest - codes.detach()
            yield indices, codes, rest

    def _shrunk(self, plane: Tensor, number: int) -> Tensor:
        return plane if self.scales[number] == self.size else F.interpolate(plane, self.scales[number], mode="area")

    def _enlarged(self, codes: Tensor, number: int) -> Tensor:
        """Codes (B, h w, C) of a scale -> (B, C, H, W)."""
        plane = codes.transpose(1, 2).unflatten(-1, self.scales[number])
        if self.scales[number] != self.size:
            plane = F.interpolate(plane, self.size, mode=self.upsampling, align_corners=False)
        return plane if self.smoothing is None else self.smoothing(plane, number)

    def _inner(self, number: int) -> Quantizer:
        return self.inner[number if len(self.inner) > 1 else 0]  # type: ignore[return-value]

    def _plane(self, latents: Tensor) -> Tensor:
        return latents.transpose(1, 2).unflatten(-1, self.size)

    def _by_scale(self, indices: Tensor) -> list[Tensor]:
        counts, left = [], indices.shape[1]
        for height, width in self.scales:
            if left:
                counts.append(height * width)
                left -= height * width
        if left:
            raise ValueError(
                f"{indices.shape[1]} tokens are not whole scales; whole ones have "
                f"{[Pyramid(self.scales[:count]).num_tokens for count in range(1, len(self.scales) + 1)]}"
            )
        return list(indices.split(counts, dim=1))

    def _check_layout(self, layout: Layout | None, num_tokens: int | None = None) -> None:
        wanted = self.size[0] * self.size[1]
        found = num_tokens if layout is None else layout.num_tokens
        if found != wanted or (isinstance(layout, Grid) and (layout.height, layout.width) != self.size):
            raise ValueError(f"the last scale is {self.size[0]}x{self.size[1]}; latents lie on {layout or num_tokens}")

    def _kept_scales(self, batch: int, generator: torch.Generator | None) -> Tensor | None:
        """Leading scales that each sample keeps, int64 (B,); None where all are kept."""
        dropped = int(batch * self.dropout) if self.training else 0
        if not dropped:
            return None
        device = self._device()
        kept = torch.full((batch,), len(self.scales), device=device)
        kept[:dropped] = torch.randint(
            self.keep_at_least, len(self.scales) + 1, (dropped,), generator=generator, device=device
        )
        return kept

    def _device(self) -> torch.device:
        return next((value.device for value in [*self.parameters(), *self.buffers()]), torch.device("cpu"))


class ScaleSmoothing(nn.Module):
    """phi of VAR, arXiv:2404.02905, section 3.2: phi(h) = (1 - r) h + r conv3x3(h), a few convolutions for all scales.

    Args:
        channels: C.
        num_scales: S.
        num_convs: scale k takes the one whose tick is nearest to k / (S - 1).
        ratio: r.

    Shapes:
        plane (B, C, H, W), number of its scale -> the same
    """

    def __init__(self, channels: int, num_scales: int, *, num_convs: int = 4, ratio: float = 0.5):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(num_convs))
        self.ratio = ratio
        margin = 1 / 3 / num_convs if num_convs == 4 else 1 / 2 / num_convs
        ticks = np.linspace(margin, 1 - margin, num_convs)
        places = [number / max(1, num_scales - 1) for number in range(num_scales)]
        # two of ten scales lie midway between ticks: rounding decides, so the authors' arithmetic is kept
        self.conv_of_scale = [int(np.argmin(np.abs(ticks - place))) for place in places]

    def forward(self, plane: Tensor, number: int) -> Tensor:
        conv = self.convs[self.conv_of_scale[number]]
        weight, bias = conv.weight.float(), conv.bias.float()  # type: ignore[union-attr, operator]
        smoothed = F.conv2d(plane, weight, bias, padding=1)  # type: ignore[arg-type]
        return plane * (1 - self.ratio) + smoothed * self.ratio


class SmoothedMultiScaleQuantizer(MultiScaleQuantizer):
    """`MultiScaleQuantizer` with phi, as VAR and XQ-GAN have it.

    Args:
        quantizer, scales, upsampling, dropout, keep_at_least: as `MultiScaleQuantizer`.
        num_convs, ratio: as `ScaleSmoothing`.
    """

    def __init__(
        self,
        quantizer: Quantizer | Sequence[Quantizer],
        scales: Sequence[int | Sequence[int]],
        *,
        num_convs: int = 4,
        ratio: float = 0.5,
        upsampling: Upsampling = "bicubic",
        dropout: float = 0.0,
        keep_at_least: int = 1,
    ):
        first = quantizer if isinstance(quantizer, Quantizer) else quantizer[0]
        super().__init__(
            quantizer,
            scales,
            smoothing=ScaleSmoothing(first.code_dim, len(scales), num_convs=num_convs, ratio=ratio),
            upsampling=upsampling,
            dropout=dropout,
            keep_at_least=keep_at_least,
        )
