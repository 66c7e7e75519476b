"""MAR's transformers, arXiv:2406.11838, section 3.3, and how tokens are made with them, several at a time.

B batch, L places, K known places, D width, C channels or codes of a token.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tokzoo.generators.base import Generator
from tokzoo.generators.conditions import Labels, drop, join, repeat, size
from tokzoo.generators.sampling import Schedule, check_knobs, guidance_at
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.tokens import Grid, Tokens, TokenSpec

LEAST_RATIO, RATIO_SPREAD = 0.7, 0.25  # share of masked tokens in training: a normal of mean 1, cut to [0.7, 1]


class MaskedBackbone(nn.Module):
    """What is known of a picture -> a vector for every place of it.

    The encoder reads the known tokens alone, behind buffers that carry the class; the decoder puts mask tokens where
    nothing is known.

    Args:
        channels: C of a token as it is read.
        num_classes: "no class" included.
        width, decoder_width: of the encoder, and of the decoder and what it gives.
        depth: blocks of each.
        num_buffers: how often the class stands in front.

    Shapes:
        values (B, L, C), known int64 (B, K), which places, ascending, classes int64 (B,) -> (B, L, decoder_width)
    """

    def __init__(
        self,
        *,
        channels: int,
        num_tokens: int,
        num_classes: int,
        width: int,
        decoder_width: int,
        depth: int,
        num_heads: int,
        num_buffers: int,
    ):
        super().__init__()
        self.num_buffers = num_buffers
        length = num_buffers + num_tokens
        self.classes = nn.Embedding(num_classes, width)
        self.embed = nn.Linear(channels, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.encoder = nn.ModuleList(TransformerBlock(width, num_heads, eps=1e-6) for _ in range(depth))
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.to_decoder = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(decoder_width))
        self.decoder_positions = nn.Parameter(0.02 * torch.randn(length, decoder_width))
        self.decoder = nn.ModuleList(TransformerBlock(decoder_width, num_heads, eps=1e-6) for _ in range(depth))
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.output_positions = nn.Parameter(0.02 * torch.randn(num_tokens, decoder_width))
        nn.init.normal_(self.classes.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def encode(self, values: Tensor, known: Tensor, classes: Tensor) -> Tensor:
        """-> (B, buffers + K, width)."""
        buffers = self.classes(classes).unsqueeze(1).expand(-1, self.num_buffers, -1)
        read = self.embed(at_places(values, known).to(self.embed.weight.dtype))  # (B, K, width)
        hidden = torch.cat([buffers, read], dim=1)
        front = self.positions[: self.num_buffers].expand(len(known), -1, -1)
        hidden = self.norm_in(hidden + torch.cat([front, self.positions[self.num_buffers + known]], dim=1))
        for block in self.encoder:
            hidden = block(hidden)
        return self.encoder_norm(hidden)

    def decode(self, encoded: Tensor, known: Tensor) -> Tensor:
        """-> (B, L, decoder_width)."""
        hidden = self.to_decoder(encoded)
        buffers, read = hidden[:, : self.num_buffers], hidden[:, self.num_buffers :]
        places = self.mask_token.expand(len(known), len(self.output_positions), -1)
        places = places.scatter(1, known.unsqueeze(-1).expand_as(read), read)
        hidden = torch.cat([buffers, places], dim=1) + self.decoder_positions
        for block in self.decoder:
            hidden = block(hidden)
        return self.decoder_norm(hidden)[:, self.num_buffers :] + self.output_positions

    def forward(self, values: Tensor, known: Tensor, classes: Tensor) -> Tensor:
        return self.decode(self.encode(values, known, classes), known)


class Asked(NamedTuple):
    """What a head is to draw tokens of: features (B, k, D) of k places, (B, k), without the class too where guided."""

    features: Tensor
    unguided: Tensor | None
    guidance: float
    places: Tensor


class MaskedGenerator(Generator):
    """Tokens at random places, few at first, each step having seen those before. A kind of head says what they are.

    Its config has, beside what every generator's has, `channels` of a token as it is read, `width`, `decoder_width`,
    `depth`, `num_heads` and `num_buffers` of the backbone. Classes are followed by "no class".
    """

    def __init__(self, config: Any):
        super().__init__(config)
        if config.grid is not None and config.grid[0] * config.grid[1] != config.num_tokens:
            raise ValueError(f"a grid of {config.grid} is not {config.num_tokens} tokens")
        self.backbone: Any = self._new_backbone()

    def _new_backbone(self) -> nn.Module:
        """Tokens (B, L, C) as they are read, known places (B, K) and the condition -> features (B, L, D)."""
        config = self.config
        return MaskedBackbone(
            channels=config.channels,
            num_tokens=config.num_tokens,
            num_classes=config.num_classes + config.null_class,
            width=config.width,
            decoder_width=config.decoder_width,
            depth=config.depth,
            num_heads=config.num_heads,
            num_buffers=config.num_buffers,
        )

    @classmethod
    def grid_for(cls, spec: TokenSpec) -> dict[str, Any]:
        """The fields of a config that say where the tokens of `spec` lie.

        Raises:
            ValueError: they lie on no grid.
        """
        if not isinstance(spec.layout, Grid):
            raise ValueError(f"{cls.__name__} makes a grid of tokens; this tokenizer's lie on {spec.layout}")
        grid = (spec.layout.height, spec.layout.width)
        return dict(channels=spec.channels, num_tokens=spec.layout.num_tokens, grid=grid)

    def check_tokens(self, tokens: Tokens) -> Tensor:
        """Tokens (B, L, C) as `accept` gives them; those that do not count, by `valid`, are 0.

        Raises:
            TypeError: no Tokens. ValueError: those of another tokenizer.
        """
        if not isinstance(tokens, Tokens):
            raise TypeError(f"tokens must be Tokens, as tok.encode makes them; got {type(tokens).__name__}")
        channels = self.config.channels
        held = tokens.latents if self.levels is None else tokens.indices
        if held is None or held.ndim != 3 or held.shape[2] != channels:
            wanted = (
                f"continuous tokens of {channels} channels, latents (B, L, {channels})"
                if self.levels is None
                else f"{channels} codes a token, indices (B, L, {channels})"
            )
            raise ValueError(f"{type(self).__name__} reads {wanted}; these are of another tokenizer")
        if tokens.levels not in (None, self.levels):
            raise ValueError(
                f"these tokens are of another tokenizer: codes of {tokens.levels} values, not of {self.levels}"
            )
        if tokens.layout != self.layout:
            raise ValueError(f"this generator's tokens lie on {self.layout}; got {tokens.layout}")
        held = held.to(self.device)
        if tokens.valid is not None:
            held = held.masked_fill(~tokens.valid.to(self.device).unsqueeze(-1), 0)
        return self.accept(held)

    # what a kind of head says

    def accept(self, held: Tensor) -> Tensor:
        """Indices or latents (B, L, C) of its tokenizer, as tokens are kept while others are made; checked."""
        raise TypeError(f"{type(self).__name__} must define accept")

    def read(self, slots: Tensor) -> Tensor:
        """Tokens (B, L, C), indices or numbers, as the backbone reads them: float (B, L, C)."""
        raise TypeError(f"{type(self).__name__} must define read")

    # sampling

    def _fill(
        self,
        labels: Labels,
        blank: Tensor,
        draw: Callable[[Asked], Tensor],
        *,
        num_samples: int,
        num_steps: int | None,
        guidance: float,
        guidance_schedule: Schedule,
        temperature: float,
        orders: Tensor | None,
        given: Tokens | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """`blank` (B, L, C) with the given tokens, and those that `draw` makes (B, k, C) of features, k at a time."""
        check_knobs(guidance=guidance, temperature=temperature, top_k=None, top_p=None)
        condition = repeat(self.condition(labels), num_samples)
        length = int(self.config.num_tokens)
        orders = self._orders(size(condition), orders, generator)
        asked = join(condition, self.null(condition)) if guidance != 1 else condition
        slots, before = blank, length
        if given is not None:
            slots, kept = self._keep(given, blank)
            before -= int(kept[0].sum())
            orders = orders.gather(1, (~kept).gather(1, orders).to(torch.uint8).argsort(dim=1, stable=True))
        counts = masked_counts(before, before if num_steps is None else num_steps) if before else ()
        for step, after in enumerate(counts):
            known = orders[:, : length - before].sort(dim=1).values
            end = length if step == len(counts) - 1 else length - after
            places = orders[:, length - before : end]
            scale = guidance_at(1 - after / length, guidance, guidance_schedule)
            copies = size(asked) // len(slots)
            features = self.backbone(self.read(slots).repeat(copies, 1, 1), known.repeat(copies, 1), asked)
            chosen = at_places(features, places.repeat(copies, 1)).float()  # (copies * B, k, D)
            if not bool(chosen.isfinite().all()):
                blamed = self._blame(lambda slots=slots, known=known: self.backbone(self.read(slots), known, condition))  # type: ignore[misc]
                raise ValueError(f"the features are not finite in step {step}: {blamed}")
            conditional, *rest = chosen.chunk(copies)
            drawn = draw(Asked(conditional, rest[0] if rest else None, scale, places))
            slots = slots.scatter(1, places.unsqueeze(-1).expand_as(drawn), drawn)
            before = after
        return slots

    def _keep(self, given: Tokens, blank: Tensor) -> tuple[Tensor, Tensor]:
        """`blank` (B, L, C) with the given tokens in their places, and which these are, bool (B, L)."""
        known, count = self.check_tokens(given), len(blank)
        if len(known) not in (1, count):
            raise ValueError(f"given tokens must be of 1 or of {count} samples; got {len(known)}")
        kept = torch.ones_like(known[..., 0], dtype=torch.bool) if given.valid is None else given.valid.to(known.device)
        if not bool((kept.sum(1) == kept[0].sum()).all()):
            raise ValueError(f"as many tokens must be given in each sample; got {kept.sum(1).tolist()[:8]}")
        return torch.where(kept.unsqueeze(-1), known, blank), kept.expand(count, -1)

    def _orders(self, count: int, orders: Tensor | None, generator: torch.Generator | None) -> Tensor:
        length = int(self.config.num_tokens)
        if orders is None:
            return torch.rand(count, length, device=self.device, generator=generator).argsort(dim=1)
        if tuple(orders.shape) != (count, length) or not bool(
            (orders.sort(dim=1).values == torch.arange(length, device=orders.device)).all()
        ):
            raise ValueError(
                f"orders must be ({count}, {length}), each the places 0 to {length - 1}; got {tuple(orders.shape)}"
            )
        return orders.to(self.device)

    # training

    def _masked(
        self, tokens: Tokens, labels: Labels, label_dropout: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Features (N, D) and tokens (N, C) of the masked places, a share of them drawn for the whole batch."""
        slots, condition = self.check_tokens(tokens), self.condition(labels)
        if len(slots) != size(condition):
            raise ValueError(f"there are {len(slots)} samples of tokens and {size(condition)} labels")
        if label_dropout:
            condition = drop(condition, self.null(condition), label_dropout, generator)
        length = slots.shape[1]
        orders = torch.rand(slots.shape[:2], device=slots.device, generator=generator).argsort(dim=1)
        known = orders[:, : length - self._masked_count(slots.device, generator)].sort(dim=1).values
        places = orders[:, known.shape[1] :]
        features = at_places(self.backbone(self.read(slots), known, condition), places)
        return features.flatten(0, 1), at_places(slots, places).flatten(0, 1)

    def _masked_count(self, device: torch.device, generator: torch.Generator | None) -> int:
        return masked_count(int(self.config.num_tokens), device, generator)


def masked_counts(length: int, steps: int) -> Sequence[int]:
    """How many tokens are masked after each step but the last, which makes all of the rest: length * cos(share * pi/2).

    Raises:
        ValueError: no step, or more than tokens.
    """
    if not 1 <= steps <= length:
        raise ValueError(f"num_steps must be 1 to {length}, one token a step at least; got {steps}")
    counts, left = [], length
    for step in range(1, steps + 1):
        left = max(1, min(left - 1, math.floor(length * math.cos(math.pi / 2 * step / steps))))
        counts.append(left)
    return counts


def masked_count(length: int, device: torch.device, generator: torch.Generator | None) -> int:
    """How many tokens of a batch to mask in training."""
    normal = NormalDist(1, RATIO_SPREAD)
    least, most = normal.cdf(LEAST_RATIO), 0.5
    uniform = float(torch.rand((), device=device, generator=generator))
    return math.ceil(length * normal.inv_cdf(least + uniform * (most - least)))


def at_places(vectors: Tensor, places: Tensor) -> Tensor:
    """(B, L, D) at int64 (B, k) -> (B, k, D)."""
    return vectors.gather(1, places.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))
