"""What a check says, how near is near enough, and how nearness is measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

Outcome = Literal["proven", "failed", "not proven"]


class Bounds(NamedTuple):
    """What half precision is held to: least share of equal indices, most relative error of anything before them."""

    share: float
    error: float


# Over the golden cases on a CPU, bfloat16 moved arrays by at most 6.4% and left at least 95% of the indices equal,
# float16 by 0.6% and 99%. Their random weights put latents nearer to ties than trained ones.
HALF: dict[torch.dtype, Bounds] = {torch.bfloat16: Bounds(0.9, 0.1), torch.float16: Bounds(0.97, 0.02)}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    outcome: Outcome
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.outcome:10}  {self.what}: {self.detail}"


@dataclass(frozen=True)
class Report:
    """All checks of one model."""

    name: str
    device: str
    dtype: torch.dtype
    checks: tuple[Check, ...]

    @property
    def failed(self) -> list[Check]:
        """The checks that went wrong."""
        return [check for check in self.checks if check.outcome == "failed"]

    def __str__(self) -> str:
        counts = ", ".join(
            f"{sum(check.outcome == outcome for check in self.checks)} {outcome}"
            for outcome in ("proven", "failed", "not proven")
        )
        head = f"{self.name} on {self.device} in {str(self.dtype).removeprefix('torch.')}, torch {torch.__version__}"
        return "\n".join([head, *(f"  {check}" for check in self.checks), f"  {counts}"])


def relative_error(have: np.ndarray, want: np.ndarray) -> float:
    """|have - want| / |want|, Euclidean; NaN if `have` holds one. Equal infinities are no difference."""
    off = np.where(have == want, 0.0, have.astype(np.float64) - want)
    size = float(np.linalg.norm(np.where(np.isfinite(want), want, 0.0)))
    return float(np.linalg.norm(off)) / max(size, 1e-12)


def first_line(error: Exception) -> str:
    """What an error says, as far as one line goes."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def full_precision() -> Iterator[None]:
    """While open, CUDA multiplies float32 as float32: convolutions use TF32 unless told otherwise."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
