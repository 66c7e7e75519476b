"""What a run writes down and shows."""

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class Log:
    """metrics.jsonl and tensorboard."""

    def __init__(self, folder: Path, *, enabled: bool):
        self.last_evaluation: dict[str, float] = {}
        self.path = folder / "metrics.jsonl"
        self.board: Any = None
        self.enabled = enabled
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(str(folder / "tensorboard"))
            except ImportError:
                logger.info("no tensorboard files: pip install 'tokzoo[train]'")

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """One line of numbers at `step`."""
        if not self.enabled:
            return
        with self.path.open("a") as opened:
            opened.write(json.dumps({"step": step, **numbers}) + "\n")
        if self.board is not None:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, step)

    def evaluated(self, step: int, numbers: dict[str, float]) -> None:
        """The same for held-out scores, which the progress line repeats."""
        self.last_evaluation = numbers
        self.write(step, numbers)


def progress_line(numbers: dict[str, float]) -> str:
    """The numbers that a person watches, in a fixed order."""
    shown = [name for name in numbers if name not in ("images_per_second", "gradient_norm", "lr")]
    line = " ".join(f"{name} {numbers[name]:.4g}" for name in shown)
    return f"{line} {numbers.get('images_per_second', 0):.0f} images/s"
