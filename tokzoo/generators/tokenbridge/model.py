"""Tokens of several codes, at random places, each said code by code.

B batch, L tokens, C codes of a token, K levels.
"""

from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.conditions import Labels
from tokzoo.generators.masked_backbone import Asked, MaskedGenerator
from tokzoo.generators.sampling import Schedule, score
from tokzoo.generators.tokenbridge.config import TokenBridgeConfig
from tokzoo.generators.tokenbridge.head import DimensionHead
from tokzoo.parts import check_indices
from tokzoo.quantizers.channel_tables import ChannelTableQuantizer
from tokzoo.quantizers.dimension_wise import DimensionWiseQuantizer
from tokzoo.tokens import Tokens, TokenSpec


class TokenBridge(MaskedGenerator):
    """p(codes of a token | class, tokens known): MAR's backbone and a dimension-wise head. arXiv:2503.16430.

    The backbone reads numbers, the published values of the codes; which values the tokenizer's own tables have does not
    matter to it.
    """

    channel_order: Tensor
    quantizer: DimensionWiseQuantizer | ChannelTableQuantizer

    def __init__(self, config: TokenBridgeConfig):
        super().__init__(config)
        order = tuple(range(config.channels)) if config.channel_order is None else config.channel_order
        if sorted(order) != list(range(config.channels)):
            raise ValueError(
                f"channel_order must name each of the {config.channels} channels once; got {order}. It belongs to one "
                "tokenizer: for another, None takes the channels as they are stored"
            )
        if len(self.levels) != config.channels or max(self.levels) != config.num_levels:
            raise ValueError(
                f"channel_levels must be {config.channels} numbers, {config.num_levels} the most; got {self.levels}"
            )
        self.head = DimensionHead(
            [self.levels[channel] for channel in order],
            config.decoder_width,
            width=config.head_width,
            depth=config.head_depth,
            num_heads=config.head_heads,
        )
        self.quantizer = DimensionWiseQuantizer(config.channels, config.num_levels)
        if config.channel_levels is not None:
            self.quantizer = ChannelTableQuantizer(config.channel_levels)
        self.register_buffer("channel_order", torch.tensor(order), persistent=False)

    # the pair

    @property
    def levels(self) -> tuple[int, ...]:
        config: TokenBridgeConfig = self.config
        return config.channel_levels or (config.num_levels,) * config.channels

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        if spec.levels is None:
            raise ValueError(
                f"{cls.__name__} makes indices; this tokenizer's tokens are continuous: tokzoo.quantize(tok) first"
            )
        if len(spec.levels) != spec.channels:
            raise ValueError(
                f"{cls.__name__} makes a code for each channel; this tokenizer's tokens have {spec.channels} channels "
                f"and levels {spec.levels}"
            )
        unlike = spec.levels if len(set(spec.levels)) > 1 else None
        return cls.grid_for(spec) | dict(num_levels=max(spec.levels), channel_levels=unlike, channel_order=None)

    def check_pair(self, spec: TokenSpec) -> None:
        if spec.levels != self.levels or spec.layout != self.layout:
            raise ValueError(
                f"this generator makes codes of {self.levels} values on {self.layout}; the tokenizer's have "
                f"{spec.levels} on {spec.layout}: they are no pair"
            )

    def accept(self, held: Tensor) -> Tensor:
        check_indices(held, self.levels)
        return held

    def read(self, slots: Tensor) -> Tensor:
        return self.quantizer.decode(slots)

    # the public door

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        labels: Labels,
        *,
        num_samples: int = 1,
        num_steps: int | None = None,
        guidance: float = 1.0,
        guidance_schedule: Schedule = "linear",
        temperature: float = 1.0,
        orders: Tensor | None = None,
        given: Tokens | None = None,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Draws `num_samples` of each label, those of one label together.

        Args:
            labels: class labels.
            num_steps: passes of the backbone, one for each token unless fewer are asked.
            guidance: u + guidance * (c - u) on the features that the head reads, 1 = off. `guidance_schedule`: how it
                grows with the share of tokens that are there.
            temperature: divides logits; 0 takes the likeliest code.
            orders: (B, L), places in the order in which they are made; by default drawn.
            given: tokens to keep, where their `valid` is set: one sample for all or one for each, as many in each; the
                steps make the others.

        Raises:
            ValueError: a label or knob out of range, guidance without a null class, orders or given tokens that do not
                fit, or features that are not finite.
        """

        def draw(asked: Asked) -> Tensor:
            features = asked.features
            if asked.unguided is not None:
                features = asked.unguided + asked.guidance * (features - asked.unguided)
            said = self.head.sample(features.flatten(0, 1), temperature=temperature, generator=generator)
            return said[:, self.channel_order.argsort()].unflatten(0, features.shape[:2])

        count = len(self.condition(labels)) * num_samples
        blank = torch.zeros(count, self.config.num_tokens, self.config.channels, dtype=torch.int64, device=self.device)
        indices = self._fill(
            labels,
            blank,
            draw,
            num_samples=num_samples,
            num_steps=num_steps,
            guidance=guidance,
            guidance_schedule=guidance_schedule,
            temperature=temperature,
            orders=orders,
            given=given,
            generator=generator,
        )
        return Tokens(layout=self.layout, indices=indices, levels=self.levels)

    def loss(  # type: ignore[override]
        self, tokens: Tokens, labels: Labels, *, label_dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean of -log p over the codes of masked tokens, in nats."""
        features, targets = self._masked(tokens, labels, label_dropout, generator)
        codes = targets[:, self.channel_order]
        return -score(self.head.logits(features, codes), codes).mean()
