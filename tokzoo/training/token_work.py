"""Generators learn from cached tokens. B batch, L tokens."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokzoo import hub
from tokzoo.data.tokens import CachedTokens
from tokzoo.generators.base import Generator
from tokzoo.tokens import Tokens
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

    def batch(self, number: int) -> tuple[Tokens, Tensor]:
        return self.data.batch(number, seed=self.config.seed, batch_size=self.config.batch_size)

    def losses(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> Losses:
        tokens, labels = batch
        device = self.accelerator.device
        with self.accelerator.autocast():
            losses: Losses = self.objective(model, tokens.to(device), labels.to(device), step, generator)
        return losses

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss on held-out tokens: of an autoregressive model, nats a token."""
        device, total = self.accelerator.device, 0.0
        generator = torch.Generator(device).manual_seed(hash_of(self.config.seed))
        tokens, labels = self.data.held_out.to(device), self.data.held_out_labels.to(device)
        for start in range(0, len(labels), self.config.batch_size):
            part = slice(start, start + self.config.batch_size)
            total += float(self.model.loss(tokens[part], labels[part], generator=generator)) * len(labels[part])
        return {"val_loss": total / len(labels)}
