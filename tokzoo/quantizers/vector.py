"""Nearest-neighbour vector quantization. B batch, L tokens, C code_dim, K codebook_size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.entropy import Entropy, codebook_entropy
from tokzoo.parts import Quantizer, check_indices, check_width, mean_square
from tokzoo.quantizers.nearest import best_rows, nearest_rows
from tokzoo.quantizers.through import Through, straight_through
from tokzoo.tokens import Layout, Quantized

ENTROPY_TEMPERATURE = 0.01  # of squared distances, arXiv:2310.05737


class VectorQuantizer(Quantizer):
    """Each token becomes its nearest codebook row. VQ-VAE, arXiv:1711.00937, section 3.2.

    Args:
        codebook_size: K; a codebook of 1 is allowed, and carries no bits.
        code_dim: C.
        normalize: tokens and rows are compared, and rows returned, at unit length (cosine lookup, arXiv:2110.04627,
            section 3.2); the stored codebook is not normalised.
        through: how gradients pass to the latents: `straight_through` or `rotate`.

    Shapes:
        latents (B, L, C) of any float dtype -> codes (B, L, C) float32, indices (B, L) int64 in [0, K)

    Losses, unweighted means: `commitment_loss` pulls latents to their codes, `codebook_loss` codes to latents. Latents
    that are no numbers get some index in range, and make the losses NaN.

    Raises:
        ValueError: latents of another width; an empty codebook.
    """

    codebook: Tensor
    replaceable = True  # whether rows can be put elsewhere

    def __init__(
        self, codebook_size: int, code_dim: int, *, normalize: bool = False, through: Through = straight_through
    ):
        super().__init__()
        if codebook_size < 1 or code_dim < 1:
            raise ValueError(f"a codebook needs a row and a channel at least; got {codebook_size} x {code_dim}")
        self.code_dim = code_dim
        self.codebook_size = codebook_size
        self.normalize = normalize
        self.through = through
        self._make_codebook()

    def _make_codebook(self) -> None:
        self.codebook = nn.Parameter(torch.empty(self.codebook_size, self.code_dim))
        self._fill(self.codebook)

    def _fill(self, codebook: Tensor) -> None:
        if self.normalize:
            nn.init.normal_(codebook)
        else:
            nn.init.uniform_(codebook, -1 / self.codebook_size, 1 / self.codebook_size)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot: one slot of K."""
        return (self.codebook_size,)

    def rows(self) -> Tensor:
        """The codebook as it is compared and returned, float32 (K, C)."""
        codebook = self.codebook.float()
        return F.normalize(codebook, dim=-1) if self.normalize else codebook

    def place(self, latents: Tensor) -> Tensor:
        """Latents as they are compared, float32."""
        latents = latents.float()
        return F.normalize(latents, dim=-1) if self.normalize else latents

    def assign(self, points: Tensor, rows: Tensor) -> Tensor:
        """Placed points (N, C) -> index of each one's row, (N,)."""
        return nearest_rows(points, rows)

    @torch.no_grad()
    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        with without_autocast(latents.device):
            return self.assign(self.place(latents).flatten(0, -2), self.rows()).view(latents.shape[:-1])

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
            points, rows = self.place(latents), self.rows()
            indices = self.assign(points.detach().flatten(0, -2), rows.detach()).view(latents.shape[:-1])
            codes = F.embedding(indices, rows)
            losses = self._losses(points, codes)
            if self.training:
                self.learn(latents, indices)
            return Quantized(self.through(points, codes), indices, None, losses)

    def _losses(self, points: Tensor, codes: Tensor) -> dict[str, Tensor]:
        return {
            "commitment_loss": mean_square(points - codes.detach()),
            "codebook_loss": mean_square(codes - points.detach()),
        }

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) -> codes (B, L, C) float32."""
        check_indices(indices, self.levels)
        return F.embedding(indices, self.rows())

    def entropy(self, latents: Tensor) -> Entropy:
        """Of a softmax over minus the squared distances, at temperature 0.01."""
        with without_autocast(latents.device):
            points, rows = self.place(latents).flatten(0, -2), self.rows()
            sharpness = 1 / ENTROPY_TEMPERATURE
            return codebook_entropy(points, 2 * sharpness * rows, -sharpness * rows.square().sum(-1))

    @torch.no_grad()
    def replace_rows(self, which: Tensor, rows: Tensor) -> None:
        """Puts `rows` (n, C) where `which` (n,) says: a start by k-means, or a dead code's new place."""
        self.codebook[which] = rows.to(self.codebook)


class DirectionVectorQuantizer(VectorQuantizer):
    """The row of the most similar direction, returned at its own length. XQ-GAN's multi-scale lookup, arXiv:2412.01762.

    As `VectorQuantizer`, but for the comparison.
    """

    def assign(self, points: Tensor, rows: Tensor) -> Tensor:
        return best_rows(points, F.normalize(rows, dim=-1))  # a point's own length changes no order

    def entropy(self, latents: Tensor) -> Entropy:
        """Of a softmax over cosine similarities, at temperature 0.01."""
        with without_autocast(latents.device):
            points, rows = F.normalize(latents.float(), dim=-1).flatten(0, -2), F.normalize(self.rows(), dim=-1)
            return codebook_entropy(points, rows / ENTROPY_TEMPERATURE)
