"""A moment as a vector, and moments as the mean of a network's work. T moments, D width."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import KeepsFloat32


class TimeEmbedding(KeepsFloat32):
    """Cosines and sines of a moment at falling frequencies, then Linear, SiLU, Linear. DiT, arXiv:2212.09748.

    Args:
        width: D.
        num_frequencies: of the waves, each with a cosine and a sine; cosines come first.
        period: ratio of the fastest to the slowest frequency, left out the last step.
        scale: what moments are multiplied by, the fastest frequency.

    Shapes:
        times (T,) -> (T, D)
    """

    float32 = ("frequencies",)
    frequencies: Tensor

    def __init__(self, width: int, *, num_frequencies: int = 128, period: float = 10_000.0, scale: float = 1.0):
        super().__init__()
        powers = torch.arange(num_frequencies) / num_frequencies
        self.register_buffer("frequencies", scale * torch.exp(-math.log(period) * powers), persistent=False)
        self.fc1 = nn.Linear(2 * num_frequencies, width)
        self.fc2 = nn.Linear(width, width)

    def waves(self, times: Tensor) -> Tensor:
        """times (T,) -> (T, 2 * num_frequencies), float32."""
        angles = times.float().unsqueeze(1) * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    def forward(self, times: Tensor) -> Tensor:
        return self.fc2(F.silu(self.fc1(self.waves(times).to(self.fc1.weight.dtype))))
