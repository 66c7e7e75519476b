"""The network that the authors of GST-VLA released, which is not the paper's. B batch, P patches, N tokens, D width."""

from collections.abc import Sequence as PySequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.encoders.gaussian_lift import check_known
from tokzoo.layers.camera import pixel_rays
from tokzoo.layers.fourier import octave_code
from tokzoo.layers.patches import to_tokens
from tokzoo.layers.precision import without_autocast
from tokzoo.layers.projection import Gaussians3D, covariances, mixtures
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Gaussians


class ReleasedGaussianHead(nn.Module):
    """A patch's features -> offset, log scales and opacity, by three linear layers on one hidden network.

    Shapes:
        features (B, P, F) -> (B, P, 3), (B, P, 3), (B, P), float32
    """

    def __init__(self, feature_width: int, head_widths: tuple[int, int]):
        super().__init__()
        first, second = head_widths
        self.hidden = nn.Sequential(nn.Linear(feature_width, first), nn.SiLU(), nn.Linear(first, second), nn.SiLU())
        self.offset, self.log_scale = nn.Linear(second, 3), nn.Linear(second, 3)
        self.opacity = nn.Linear(second, 1)
        nn.init.zeros_(self.offset.weight)
        for layer, value in ((self.offset, 0.0), (self.log_scale, 0.0), (self.opacity, 0.5)):
            nn.init.constant_(layer.bias, value)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.hidden(features)
        opacity = torch.sigmoid(self.opacity(hidden).float()).squeeze(-1)
        return self.offset(hidden).float(), self.log_scale(hidden).float(), opacity


class ReleasedGaussianLiftEncoder(Encoder):
    """Gaussians of patches as in the released code of GST-VLA, s-elim/GST-VLA, commit c685380; github.com.

    Against the paper: points are those of the middle pixels, with a learned factor and offset of depth; Gaussians lie
    along the axes; tokens are features and code times the opacity, and are pooled by several heads, norms and an MLP.
    As in `GaussianLiftEncoder`, the Gaussians of the tokens are those of the mixtures that the pooling reads, here by
    the mean of its heads.

    Args:
        patch_size: pixels per side.
        num_tokens: N.
        feature_width: of the given features.
        head_widths: the two hidden layers of the head.
        octaves: of the code of means.
        num_heads: of the pooling.
        width: D.

    Shapes:
        images (B, 3, H, W), of which only the size is used; depth (B, h, w), intrinsics (B, 3, 3), features (B, P, F)
        -> latents (B, N, D), geometry float32 (B, N, 10)

    Raises:
        ValueError: a sample without depth in the middle of any patch.
    """

    def __init__(
        self,
        *,
        patch_size: int,
        num_tokens: int,
        feature_width: int,
        head_widths: PySequence[int],
        octaves: int,
        num_heads: int,
        width: int,
    ):
        super().__init__()
        self.patch_size, self.octaves = patch_size, octaves
        inner = feature_width + 6 * octaves
        first, second = head_widths
        self.head = ReleasedGaussianHead(feature_width, (first, second))
        self.depth_scale, self.depth_offset = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        self.queries = nn.Parameter(torch.randn(num_tokens, inner) * 0.02)
        self.norm_queries, self.norm_read, self.norm_out = nn.LayerNorm(inner), nn.LayerNorm(inner), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(inner, num_heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(inner, 2 * inner), nn.GELU(), nn.Linear(2 * inner, width))

    def forward(self, images: Tensor, depth: Tensor, intrinsics: Tensor, features: Tensor) -> Features:
        raw = self.read(images, depth, intrinsics, features)
        assert raw.geometry is not None and raw.valid is not None
        queries = self.queries.expand(len(images), -1, -1)
        asked, told = self.norm_queries(queries), raw.latents
        read, weights = self.attention(asked, told, told, key_padding_mask=~raw.valid)
        latents = self.norm_out(self.mlp(self.norm_read(queries + read)))
        with without_autocast(images.device):
            geometry = mixtures(weights.float(), Gaussians3D.unpack(raw.geometry)).pack()
        return Features(latents, Gaussians(latents.shape[1]), geometry, aux={"weights": weights})

    def read(self, images: Tensor, depth: Tensor, intrinsics: Tensor, features: Tensor) -> Features:
        """The Gaussians of the patches, before pooling: latents (B, P, inner), geometry (B, P, 10), valid (B, P)."""
        size = (images.shape[2], images.shape[3])
        middle = slice(self.patch_size // 2, None, self.patch_size)
        with without_autocast(images.device):
            depth = F.interpolate(depth.float().unsqueeze(1), size, mode="nearest-exact")[:, :, middle, middle]
            known = depth.isfinite() & (depth > 0)
            rays = pixel_rays(intrinsics.float(), size)[:, :, middle, middle]
            scaled = torch.where(known, depth, 1.0) * self.depth_scale.float() + self.depth_offset.float()
            points = to_tokens(rays * scaled)  # (B, P, 3)
            valid = to_tokens(known).squeeze(2)
            check_known(valid)
            offsets, log_scales, opacities = self.head(features)
            means = points + offsets
            still = means.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(*means.shape[:2], 4)
            gaussians = Gaussians3D(means, covariances(log_scales, still), opacities * valid)
        code = octave_code(means, self.octaves)
        tokens = torch.cat([features, code.to(features.dtype)], dim=-1) * opacities.unsqueeze(-1).to(features.dtype)
        return Features(tokens, Gaussians(tokens.shape[1]), gaussians.pack(), valid, aux={"points": points})
