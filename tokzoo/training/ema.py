"""An exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Float32 averages of a model's parameters, warmed up: decay min(decay, (1 + step) / (10 + step)).

    Buffers are not averaged.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.averages = {name: value.detach().float().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes in the weights after optimizer step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [value.detach().float() for value in model.parameters()]
        torch._foreach_lerp_(list(self.averages.values()), current, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """While open, the model has the averaged weights."""
        own = {name: value.detach().clone() for name, value in model.named_parameters()}
        _copy(self.averages, model)
        try:
            yield
        finally:
            _copy(own, model)


@torch.no_grad()
def _copy(values: dict[str, Tensor], model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])
