"""What generators minimise. B batch."""

from typing import Any

import torch
from torch import Tensor, nn

from tokzoo.generators.rar.model import Rar
from tokzoo.tokens import Tokens
from tokzoo.training.config import GenerationConfig, LossConfig
from tokzoo.training.objectives import Losses, Objective


class Likelihood(Objective):
    """What a generator makes small; RAR reads tokens in random orders first, and in their own at last.

    Args:
        how: label dropout, and when orders are random.
        steps: of the stage.
    """

    def __init__(self, how: GenerationConfig, steps: int):
        super().__init__(LossConfig())
        self.how, self.steps = how, steps

    def forward(  # type: ignore[override]
        self,
        model: nn.Module,
        tokens: Tokens,
        labels: Tensor,
        step: int,
        generator: torch.Generator,
        given: dict[str, Tensor],
    ) -> Losses:
        """Tokens of B samples and their labels (B,) -> the loss. All chance is from `generator`, dropout's too.

        `given` is what else the model reads, by name.
        """
        options: dict[str, Any] = {"label_dropout": self.how.label_dropout, **given}
        if isinstance(getattr(model, "module", model), Rar):  # DDP wraps in `module`
            options["random_orders"] = self.random_orders(step)
        device = generator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())  # dropout asks the global generator
            total = model(tokens, labels, generator=generator, **options)
        return Losses(total, {"loss": total})

    def random_orders(self, step: int) -> float:
        """The share of samples in random order: 1, then falling, then 0. arXiv:2411.00776, section 3.2."""
        begin, end = (share * self.steps for share in (self.how.random_until, self.how.raster_from))
        return min(1.0, max(0.0, (end - step) / max(end - begin, 1)))
