"""The velocity of Gaussian tokens on their way from noise. B batch, N Gaussians, C channels, D width."""

import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.diffusion.time import TimeEmbedding
from tokzoo.layers.transformer import Attention

EPS = 1e-6  # of every norm


class ModulatedBlock(nn.Module):
    """x += gate * Attention(LN x); x += gate * MLP(LN x), scaled, shifted and gated by a condition.

    DiT, arXiv:2212.09748, section 3.2: adaLN-Zero, the MLP with GELU's tanh form.

    Shapes:
        hidden (B, N, D), condition (B, D) -> (B, N, D)
    """

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: int = 4):
        super().__init__()
        self.attn = Attention(dim, num_heads)
        self.fc1 = nn.Linear(dim, mlp_ratio * dim)
        self.fc2 = nn.Linear(mlp_ratio * dim, dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        zero(self.modulation)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        parts = self.modulation(F.silu(condition)).unsqueeze(1).chunk(6, dim=-1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = parts
        hidden = hidden + gate_attn * self.attn(plain_norm(hidden) * (1 + scale_attn) + shift_attn)
        inside = F.gelu(self.fc1(plain_norm(hidden) * (1 + scale_mlp) + shift_mlp), approximate="tanh")
        return hidden + gate_mlp * self.fc2(inside)


class TokenVelocity(nn.Module):
    """Velocity of tokens in no order, given a class. SiT, arXiv:2401.08740.

    It also gives as many channels again, which were to be a variance and are not used.

    Shapes:
        place (B, N, C), times (B,) from 0, noise, to 1, classes int64 (B,) -> (B, N, C)
    """

    def __init__(self, *, channels: int, num_classes: int, width: int, depth: int, num_heads: int):
        super().__init__()
        self.embed = nn.Linear(channels, width)
        self.time = TimeEmbedding(width)
        self.classes = nn.Embedding(num_classes, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width, num_heads) for _ in range(depth))
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, 2 * channels)
        zero(self.modulation)
        zero(self.out)

    def forward(self, place: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        return self.transform(self.embed(place.to(self.embed.weight.dtype)), times, classes)

    def transform(self, hidden: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Embedded tokens (B, N, D) -> their velocity (B, N, C), float32."""
        condition = self.time(times) + self.classes(classes)
        for block in self.blocks:
            hidden = block(hidden, condition)
        shift, scale = self.modulation(F.silu(condition)).unsqueeze(1).chunk(2, dim=-1)
        velocity, _ = self.out(plain_norm(hidden) * (1 + scale) + shift).chunk(2, dim=-1)
        return velocity.float()


class TextureVelocity(TokenVelocity):
    """The same of tokens that know their place through their layouts, the initial Gaussians. GPSToken.

    Shapes:
        place (B, N, C), times (B,), classes int64 (B,), layouts (B, N, 5) -> (B, N, C)
    """

    def __init__(self, *, channels: int, num_classes: int, width: int, depth: int, num_heads: int):
        super().__init__(channels=channels, num_classes=num_classes, width=width, depth=depth, num_heads=num_heads)
        self.layout = nn.Sequential(nn.Linear(5, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, place: Tensor, times: Tensor, classes: Tensor, layouts: Tensor) -> Tensor:  # type: ignore[override]
        dtype = self.embed.weight.dtype
        return self.transform(self.embed(place.to(dtype)) + self.layout(layouts.to(dtype)), times, classes)


def plain_norm(hidden: Tensor) -> Tensor:
    """LayerNorm without parameters."""
    return F.layer_norm(hidden, hidden.shape[-1:], eps=EPS)


def zero(linear: nn.Linear) -> None:
    """So that training begins with no branch, and no velocity, at all."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
