"""A codebook of moving averages. N points, C code_dim, K codebook_size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.layers.precision import KeepsFloat32
from tokzoo.parts import mean_square
from tokzoo.quantizers.ranks import sum_over_ranks
from tokzoo.quantizers.through import Through, straight_through
from tokzoo.quantizers.vector import VectorQuantizer


class EmaVectorQuantizer(KeepsFloat32, VectorQuantizer):
    """Each row is a moving average of the latents assigned to it, not a parameter. arXiv:1711.00937, appendix A.1.

    Args:
        decay: of the averages.
        smoothing: Laplace smoothing of the counts.

    Rows move in training, after the batch was coded. Counts and sums are added up over processes. Points that are no
    numbers move no row. `commitment_loss` is the only loss. Else as `VectorQuantizer`.
    """

    average_counts: Tensor
    average_sums: Tensor
    float32 = ("codebook", "average_counts", "average_sums")

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        *,
        normalize: bool = False,
        decay: float = 0.99,
        smoothing: float = 1e-5,
        through: Through = straight_through,
    ):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1); got {decay}")
        super().__init__(codebook_size, code_dim, normalize=normalize, through=through)
        self.decay = decay
        self.smoothing = smoothing

    def _make_codebook(self) -> None:
        codebook = torch.empty(self.codebook_size, self.code_dim)
        self._fill(codebook)
        if self.normalize:
            codebook = F.normalize(codebook, dim=-1)
        self.register_buffer("codebook", codebook)
        self.register_buffer("average_counts", torch.ones(self.codebook_size))
        self.register_buffer("average_sums", codebook.clone())

    def _losses(self, points: Tensor, codes: Tensor) -> dict[str, Tensor]:
        return {"commitment_loss": mean_square(points - codes.detach())}

    @torch.no_grad()
    def learn(self, latents: Tensor, indices: Tensor) -> None:
        points, chosen = self.place(latents).flatten(0, -2), indices.flatten()
        counts = torch.bincount(chosen, minlength=self.codebook_size).to(points)
        sums = points.new_zeros(self.codebook_size, self.code_dim).index_add_(0, chosen, points)
        sum_over_ranks(counts, sums)
        sound = sums.isfinite().all(-1)
        self.average_counts.lerp_(torch.where(sound, counts, self.average_counts), 1 - self.decay)
        self.average_sums.lerp_(torch.where(sound.unsqueeze(-1), sums, self.average_sums), 1 - self.decay)
        total = self.average_counts.sum()
        share = (self.average_counts + self.smoothing) / (total + self.codebook_size * self.smoothing)
        self.codebook.copy_(self.average_sums / (share * total).unsqueeze(-1))

    @torch.no_grad()
    def replace_rows(self, which: Tensor, rows: Tensor) -> None:
        rows = F.normalize(rows.float(), dim=-1) if self.normalize else rows.float()
        count = self.average_counts.mean()
        self.codebook[which] = rows.to(self.codebook)
        self.average_counts[which] = count
        self.average_sums[which] = (rows * count).to(self.average_sums)
