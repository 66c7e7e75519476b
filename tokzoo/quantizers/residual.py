"""Several codes a token, each of what the ones before have left. B batch, L tokens, C channels, D depth."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tokzoo.losses.entropy import Entropy
from tokzoo.parts import Quantizer, check_indices, check_width, mean_square
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Layout, Quantized


class ResidualQuantizer(Quantizer):
    """Stage d codes the rest that stages before d have left; a code is the sum. RQ-VAE, arXiv:2203.01941, section 3.1.

    Args:
        quantizers: D of one slot each and of one width, or a single one that all stages share (with `depth`).
        depth: D, where one is shared.

    Shapes:
        latents (B, L, C) -> codes (B, L, C), indices (B, L, D), stage 0 first; D' < D leading slots decode, too

    Gradients pass straight through. Losses: `commitment_loss` and `codebook_loss`, mean over stages of the square of
    what is left after each, with the gradient to the latents and to the stage's own rows.

    Raises:
        ValueError: stages of unequal width, or with several slots; depth below 1.
    """

    def __init__(self, quantizers: Quantizer | Sequence[Quantizer], *, depth: int | None = None):
        super().__init__()
        stages = [quantizers] if isinstance(quantizers, Quantizer) else list(quantizers)
        self.depth = len(stages) if depth is None else depth
        if self.depth < 1 or len(stages) not in (1, self.depth):
            raise ValueError(f"depth must be at least 1, with one quantizer or D; got {self.depth}, {len(stages)}")
        for stage in stages:
            if stage.levels is None or len(stage.levels) != 1:
                raise ValueError(f"a stage is a quantizer of one slot; {type(stage).__name__} has {stage.levels}")
            if {stage.code_dim, stage.latent_dim} != {stages[0].code_dim}:
                raise ValueError(f"stages must all take and give {stages[0].code_dim} channels; got {stage.code_dim}")
        self.stages = nn.ModuleList(stages)
        self.code_dim = stages[0].code_dim

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot, stage after stage."""
        return tuple(self.stage(number).levels[0] for number in range(self.depth))  # type: ignore[index]

    def stage(self, number: int) -> Quantizer:
        """The quantizer of a stage."""
        return self.stages[number if len(self.stages) > 1 else 0]  # type: ignore[return-value]

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_width(self, latents)
        points = latents.float()
        total = points.new_zeros(())
        chosen, commitments, pulls = [], [], []
        for number in range(self.depth):
            stage, rest = self.stage(number), points.detach() - total.detach()
            indices = stage.index(rest)
            if self.training and torch.is_grad_enabled():
                stage.learn(rest, indices)
            codes = stage.decode(indices)
            total = total.detach() + codes
            chosen.append(indices)
            commitments.append(mean_square(points - total.detach()))
            pulls.append(mean_square(codes - rest))
        losses = {"commitment_loss": torch.stack(commitments).mean(), "codebook_loss": torch.stack(pulls).mean()}
        stacked = torch.stack(chosen, dim=-1) if self.depth > 1 else chosen[0]
        return Quantized(straight_through(points, total), stacked, None, losses)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L, D) or their first slots (B, L, d) -> codes (B, L, C) float32."""
        slots = indices.unsqueeze(-1) if indices.ndim == 2 else indices
        check_indices(slots, self.levels[: max(1, slots.shape[-1])])
        total = self.stage(0).decode(slots[..., 0])
        for number in range(1, slots.shape[-1]):
            total = total + self.stage(number).decode(slots[..., number])
        return total

    def entropy(self, latents: Tensor) -> Entropy:
        """Summed over the stages."""
        rest, terms = latents.float(), []
        for number in range(self.depth):
            stage = self.stage(number)
            terms.append(stage.entropy(rest))
            rest = rest - stage.decode(stage.index(rest)).detach()
        return Entropy(*(torch.stack(term).sum() for term in zip(*terms, strict=True)))
