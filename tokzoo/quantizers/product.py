"""Several codes a token, side by side. B batch, L tokens, C channels, P parts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tokzoo.losses.entropy import Entropy
from tokzoo.parts import Quantizer, check_indices, check_width
from tokzoo.tokens import Layout, Quantized


class ProductQuantizer(Quantizer):
    """Channels are cut into consecutive parts, each with a quantizer of its own. Jegou et al. 2011; UniTok, XQ-GAN.

    Args:
        quantizers: P discrete ones, in the order of their channels.

    Shapes:
        latents (B, L, sum of the parts' widths) -> codes (B, L, sum), indices (B, L, P): part 0 first; a part with
        several slots keeps them

    Losses are means over the parts, by name.

    Raises:
        ValueError: no quantizers, or latents of another width. TypeError: a part without indices.
    """

    def __init__(self, quantizers: Sequence[Quantizer]):
        super().__init__()
        if not quantizers:
            raise ValueError("a product needs one quantizer at least")
        for part in quantizers:
            if part.levels is None:
                raise TypeError(f"a product is of discrete quantizers; {type(part).__name__} has no indices")
        self.parts = nn.ModuleList(quantizers)
        self.code_dim = sum(part.code_dim for part in quantizers)
        self.draws = any(part.draws for part in quantizers)

    @property
    def latent_dim(self) -> int:
        """Of all parts together."""
        return sum(self._widths())

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot, part after part."""
        return tuple(level for part in self.parts for level in part.levels)  # type: ignore[misc, union-attr]

    def token_layout(self, layout: Layout) -> Layout:
        return self.parts[0].token_layout(layout)  # type: ignore[operator]

    def code_layout(self, layout: Layout) -> Layout:
        return self.parts[0].code_layout(layout)  # type: ignore[operator]

    def forward(
        self,
        latents: Tensor,
        layout: Layout | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_width(self, latents)
        pieces = latents.split(self._widths(), dim=-1)
        made: list[Quantized] = [
            part(piece, layout, sample=sample, generator=generator)
            for part, piece in zip(self.parts, pieces, strict=True)
        ]
        losses = {
            name: torch.stack([each.losses[name] for each in made if name in each.losses]).mean()
            for name in dict.fromkeys(name for each in made for name in each.losses)
        }
        codes = torch.cat([each.codes for each in made], dim=-1)
        return Quantized(codes, _join([each.indices for each in made]), None, losses)

    @torch.no_grad()
    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        pieces = latents.split(self._widths(), dim=-1)
        return _join([part.index(piece, layout) for part, piece in zip(self.parts, pieces, strict=True)])  # type: ignore[operator]

    def learn(self, latents: Tensor, indices: Tensor) -> None:
        pieces = zip(latents.split(self._widths(), dim=-1), self._slots(indices), strict=True)
        for part, (piece, own) in zip(self.parts, pieces, strict=True):
            part.learn(piece, own)  # type: ignore[operator]

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L, P) -> codes (B, L, C) float32."""
        check_indices(indices, self.levels)
        codes = [
            part.decode(own, layout)  # type: ignore[operator]
            for part, own in zip(self.parts, self._slots(indices), strict=True)
        ]
        return torch.cat(codes, dim=-1)

    def entropy(self, latents: Tensor) -> Entropy:
        """Summed over the parts."""
        pieces = latents.split(self._widths(), dim=-1)
        terms = [part.entropy(piece) for part, piece in zip(self.parts, pieces, strict=True)]  # type: ignore[operator]
        return Entropy(*(torch.stack(term).sum() for term in zip(*terms, strict=True)))

    def _widths(self) -> list[int]:
        return [part.latent_dim for part in self.parts]  # type: ignore[misc]

    def _slots(self, indices: Tensor) -> list[Tensor]:
        """Each part's own indices."""
        counts = [len(part.levels) for part in self.parts]  # type: ignore[arg-type]
        if len(self.levels) == 1:
            return [indices]
        pieces = indices.split(counts, dim=-1)
        return [piece.squeeze(-1) if count == 1 else piece for piece, count in zip(pieces, counts, strict=True)]


def _join(parts: Sequence[Tensor | None]) -> Tensor:
    """Slots of several quantizers (B, L) or (B, L, D) -> (B, L, sum of D)."""
    if len(parts) == 1:
        return parts[0]  # type: ignore[return-value]
    return torch.cat([part.unsqueeze(-1) if part.ndim == 2 else part for part in parts], dim=-1)  # type: ignore[misc, union-attr]
