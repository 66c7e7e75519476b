"""Codebooks whose rows are not parameters. C code_dim, K codebook_size."""

import torch
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.parts import mean_square
from tokzoo.quantizers.through import Through, straight_through
from tokzoo.quantizers.vector import VectorQuantizer


class SimVectorQuantizer(VectorQuantizer):
    """A frozen random table seen through one learned linear map, so that all rows move together. arXiv:2411.02038, 4.

    Parameters: the map, (C, C) without bias; the table is a buffer, N(0, 1 / C). Else as `VectorQuantizer`.
    """

    replaceable = False

    def _make_codebook(self) -> None:
        self.register_buffer("codebook", torch.randn(self.codebook_size, self.code_dim) * self.code_dim**-0.5)
        self.projection = nn.Linear(self.code_dim, self.code_dim, bias=False)

    def rows(self) -> Tensor:
        with without_autocast(self.codebook.device):
            rows: Tensor = self.codebook.float() @ self.projection.weight.float().t()
        return nn.functional.normalize(rows, dim=-1) if self.normalize else rows

    def replace_rows(self, which: Tensor, rows: Tensor) -> None:
        raise TypeError("the rows of a SimVectorQuantizer are frozen: it takes neither a start nor new places")


class FrozenVectorQuantizer(VectorQuantizer):
    """The nearest row of a table that is given and stays, as a language model's word vectors. SPAE, arXiv:2306.17842.

    Args:
        table: (K, C); None leaves random unit vectors, for `load_table` or a state dict to fill.

    `commitment_loss` is the only loss. Else as `VectorQuantizer`.
    """

    replaceable = False

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        *,
        table: Tensor | None = None,
        normalize: bool = False,
        through: Through = straight_through,
    ):
        super().__init__(codebook_size, code_dim, normalize=normalize, through=through)
        if table is not None:
            self.load_table(table)

    def _make_codebook(self) -> None:
        rows = torch.randn(self.codebook_size, self.code_dim)
        self.register_buffer("codebook", nn.functional.normalize(rows, dim=-1))

    @torch.no_grad()
    def load_table(self, table: Tensor) -> None:
        """Takes the rows of `table` (K, C)."""
        if table.shape != self.codebook.shape:
            raise ValueError(f"the table must be {tuple(self.codebook.shape)}; got {tuple(table.shape)}")
        self.codebook.copy_(table)

    def _losses(self, points: Tensor, codes: Tensor) -> dict[str, Tensor]:
        return {"commitment_loss": mean_square(points - codes.detach())}

    def replace_rows(self, which: Tensor, rows: Tensor) -> None:
        raise TypeError("the rows of a FrozenVectorQuantizer stay: it takes neither a start nor new places")
