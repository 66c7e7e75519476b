"""What a stage trains, on which data and how it is scored: all that the loop does not know."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from tokzoo.conversion import under
from tokzoo.training.config import TrainConfig
from tokzoo.training.objectives import Losses
from tokzoo.training.recipes import Stage

if TYPE_CHECKING:
    from accelerate import Accelerator


class Span(NamedTuple):
    """The steps [first, last) of stage `number`."""

    number: int
    first: int
    last: int

    @property
    def steps(self) -> int:
        """How many."""
        return self.last - self.first


class Work:
    """Base: a model, its objective and its data, for the steps of one stage.

    Args:
        config: of the run.
        accelerator: of the process.
        model: what learns.
        stage: with its objective.
        span: the stage's steps.
        data: what `read` gave.
    """

    def __init__(
        self, config: TrainConfig, accelerator: "Accelerator", model: Any, stage: Stage, span: Span, data: Any
    ):
        self.config, self.accelerator, self.span, self.stage = config, accelerator, span, stage
        self.data = data
        self.model = model.to(accelerator.device).train()
        self.objective = stage.objective.place(accelerator.device)
        self.adversary: torch.optim.Optimizer | None = None  # optimizer of the objective's discriminator

    @classmethod
    def read(cls, config: TrainConfig, model: Any) -> Any:
        """The data, read once for all stages."""
        raise TypeError(f"{cls.__name__} must define read")

    def batch(self, number: int) -> Any:
        """Batch `number`, a pure function; called in other threads."""
        raise TypeError(f"{type(self).__name__} must define batch")

    def losses(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> Losses:
        """What step `step` of the stage minimises; `model` is the wrapped one. All chance is from `generator`."""
        raise TypeError(f"{type(self).__name__} must define losses")

    def after(self, losses: Losses, step: int) -> None:
        """What follows the optimizers' step number `step` of the run."""

    def evaluate(self) -> dict[str, float]:
        """Held-out scores of the model as it is, in eval mode and without gradients; empty where there are none."""
        raise TypeError(f"{type(self).__name__} must define evaluate")

    def numbers(self) -> dict[str, float]:
        """What else is reported with the losses."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside model, averages and optimizers."""
        return {f"objective.{key}": value for key, value in self.objective.state_dict().items()}

    def load_state(self, state: dict[str, Tensor]) -> Self:
        """The way back of `state`."""
        self.objective.load_state_dict(under(state, "objective."))
        return self

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Over all processes, of parameters that are not wrapped for several."""
        if self.accelerator.num_processes > 1:
            for parameter in parameters:
                parameter.grad = self.accelerator.reduce(parameter.grad, "mean")


def hash_of(*numbers: int) -> int:
    """A seed from several numbers, well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(2, np.uint64)[0] >> np.uint64(1))
