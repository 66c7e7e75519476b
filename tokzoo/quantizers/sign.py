"""Codes that are the signs of their channels. B batch, L tokens, C channels, D slots."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.entropy import Entropy, bit_entropy
from tokzoo.parts import Quantizer, check_indices, check_width, mean_square
from tokzoo.quantizers.digits import Digits, slots_of
from tokzoo.quantizers.through import Through, straight_through
from tokzoo.tokens import Layout, Quantized

ENTROPY_TEMPERATURE = 0.01


class LookupFreeQuantizer(Quantizer):
    """Each channel becomes its sign, times `magnitude`; zero is negative. LFQ, arXiv:2310.05737, section 3.1.

    Args:
        code_dim: C, bits of a token.
        slot_bits: bits per index, adding up to C; None: one index up to 63 bits, else groups of 8.
        first_is_high: channel 0 is the most significant bit of its slot (BSQ-ViT, Show-o, ELM); else the least
            significant (Open-MAGVIT2, XQ-GAN, WeTok).
        magnitude: of a code's channels.
        through: how gradients pass to the latents.

    Shapes:
        latents (B, L, C) of any float dtype -> codes (B, L, C) float32, indices (B, L), or (B, L, D) for D slots

    Losses: `commitment_loss`, mean square distance to the code. Entropy (on request) is that of a softmax over twice
    the inner products with all 2^C codes at temperature 0.01, exact, without making them.

    Raises:
        ValueError: no channels, or slots that do not hold them; latents of another width.
    """

    def __init__(
        self,
        code_dim: int,
        *,
        slot_bits: Sequence[int] | None = None,
        first_is_high: bool = False,
        magnitude: float = 1.0,
        through: Through = straight_through,
    ):
        super().__init__()
        if code_dim < 1:
            raise ValueError(f"sign codes need a channel at least; got {code_dim}")
        self.code_dim = code_dim
        self.magnitude = magnitude
        self.through = through
        self.digits = Digits([2] * code_dim, slot_bits or slots_of(code_dim), first_is_high=first_is_high)

    @property
    def levels(self) -> tuple[int, ...]:
        """Values per slot."""
        return self.digits.levels

    def place(self, latents: Tensor) -> Tensor:
        """Latents as their signs are taken, float32."""
        return latents.float()

    @torch.no_grad()
    def index(self, latents: Tensor, layout: Layout | None = None) -> Tensor:
        with without_autocast(latents.device):
            return self.digits.pack(latents > 0)  # a positive scale changes no sign

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
            points = self.place(latents)
            bits = points.detach() > 0
            codes = self._codes(bits)
            losses = {"commitment_loss": mean_square(points - codes)}
            return Quantized(self.through(points, codes), self.digits.pack(bits), None, losses)

    def decode(self, indices: Tensor, layout: Layout | None = None) -> Tensor:
        """Indices (B, L) or (B, L, D) -> codes (B, L, C) float32."""
        check_indices(indices, self.levels)
        return self._codes(self.digits.unpack(indices))

    def _codes(self, bits: Tensor) -> Tensor:
        return bits.to(torch.float32).mul_(2 * self.magnitude).sub_(self.magnitude)

    def entropy(self, latents: Tensor) -> Entropy:
        """Exact, over all 2^C codes."""
        with without_autocast(latents.device):
            return bit_entropy(self._logits(latents).flatten(0, -2))

    def _logits(self, latents: Tensor) -> Tensor:
        """Of each bit: the difference that it makes to 2 <latent, code> / temperature."""
        return self.place(latents) * (4 * self.magnitude / ENTROPY_TEMPERATURE)


class GroupedBinaryQuantizer(LookupFreeQuantizer):
    """LFQ whose entropy is taken in groups of channels, each a small codebook of its own. GFQ, WeTok, arXiv:2508.05599.

    Args:
        code_dim: C.
        num_groups: D, slots of a token; they must divide C.

    The mean assignment is over tokens and groups alike, as published. Else as `LookupFreeQuantizer`.
    """

    def __init__(self, code_dim: int, num_groups: int, *, first_is_high: bool = False):
        if num_groups < 1 or code_dim % num_groups:
            fits = [count for count in range(1, code_dim + 1) if code_dim % count == 0]
            raise ValueError(f"{code_dim} channels do not fall into {num_groups} groups; these counts fit: {fits}")
        super().__init__(code_dim, slot_bits=(code_dim // num_groups,) * num_groups, first_is_high=first_is_high)
        self.num_groups = num_groups

    def entropy(self, latents: Tensor) -> Entropy:
        """Exact in a group; tokens and groups are rows alike."""
        with without_autocast(latents.device):
            return bit_entropy(self._logits(latents).reshape(-1, self.code_dim // self.num_groups))


class BinarySphericalQuantizer(LookupFreeQuantizer):
    """Signs of the unit vector, over sqrt(C): the corners of a cube in the unit sphere. BSQ, arXiv:2406.07548, 3.2.

    Args:
        code_dim: C.
        entropy_group: bits whose joint distribution the entropy term looks at; groups count as independent (4.2 there).
        inverse_temperature: of the softmax over minus squared distances that the entropy term is of.

    Else as `LookupFreeQuantizer`. Channel 0 is the most significant bit by default, as the authors have it.
    """

    def __init__(
        self,
        code_dim: int,
        *,
        slot_bits: Sequence[int] | None = None,
        first_is_high: bool = True,
        entropy_group: int = 1,
        inverse_temperature: float = 1.0,
        through: Through = straight_through,
    ):
        super().__init__(
            code_dim,
            slot_bits=slot_bits,
            first_is_high=first_is_high,
            magnitude=max(code_dim, 1) ** -0.5,
            through=through,
        )
        if entropy_group < 1 or code_dim % entropy_group:
            raise ValueError(f"entropy_group must divide the {code_dim} channels; got {entropy_group}")
        self.entropy_group = entropy_group
        self.inverse_temperature = inverse_temperature

    def place(self, latents: Tensor) -> Tensor:
        return F.normalize(latents.float(), dim=-1)

    def entropy(self, latents: Tensor) -> Entropy:
        """Summed over groups; exact in each."""
        with without_autocast(latents.device):
            logits = self.place(latents).flatten(0, -2) * (4 * self.magnitude * self.inverse_temperature)
            if self.entropy_group == 1:  # a bit's joint distribution is its chance
                chances = logits.sigmoid()
                per_token = (F.softplus(logits) - logits * chances).sum(-1).mean()
                mean = chances.mean(0)
                overall = -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum()
                return Entropy(per_token, overall)
            groups = [bit_entropy(group) for group in logits.split(self.entropy_group, dim=-1)]
            return Entropy(*(torch.stack(terms).sum() for terms in zip(*groups, strict=True)))
