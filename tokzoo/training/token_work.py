"""Generators learn from cached tokens. B batch, L tokens."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tokzoo import hub
from tokzoo.data.tokens import CachedTokens, Shard
from tokzoo.generators.base import Generator
from tokzoo.training.config import TrainConfig
from tokzoo.training.objectives import Losses
from tokzoo.training.work import Work, hash_of


class TokenWork(Work):
    """A generator that learns the tokens of a labelled set, and is scored on held-out ones."""

    data: CachedTokens

    @classmethod
    def read(cls, config: TrainConfig, model: Generator) -> CachedTokens:
        data = CachedTokens.read(Path(config.data), hub.from_pretrained(str(config.tokenizer)))
        model.classes = data.classes
        return data

    def batch(self, number: int) -> Shard:
        return self.data.batch(number, seed=self.config.seed, batch_size=self.config.batch_size)

    def losses(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> Losses:
        tokens, labels, prepared = batch.to(self.accelerator.device)
        given = {name: prepared[name] for name in self.model.reads}
        with self.accelerator.autocast():
            losses: Losses = self.objective(model, tokens, labels, step, generator, given)
        return losses

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss on held-out tokens: of an autoregressive model, nats a token."""
        device, total = self.accelerator.device, 0.0
        generator = torch.Generator(device).manual_seed(hash_of(self.config.seed))
        held_out, size = self.data.held_out.to(device), self.config.batch_size
        for start in range(0, len(held_out.labels), size):
            tokens, labels, prepared = held_out.rows(slice(start, start + size))
            given = {name: prepared[name] for name in self.model.reads}
            total += float(self.model.loss(tokens, labels, generator=generator, **given)) * len(labels)
        return {"val_loss": total / len(held_out.labels)}
