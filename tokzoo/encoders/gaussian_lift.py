"""Patches with depth become 3D Gaussians, and learned queries pool those. B batch, H W pixels, D width of a token.

P patches, each a Gaussian at first; N tokens, each a Gaussian at last; F feature_width.
"""

import math
from collections.abc import Sequence as PySequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.camera import default_intrinsics, lift
from tokzoo.layers.fourier import octave_code
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.layers.precision import without_autocast
from tokzoo.layers.projection import Gaussians3D, covariances, mixtures, rounded
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.parts import Encoder
from tokzoo.tokens import Features, Gaussians

LOG_SCALES = (-9.0, 3.0)  # logs of metres: what is beyond counts as the bound
PICTURE_OCTAVES = 3  # of the code of a patch's place in the picture
START_SHARPNESS = 3.0  # of the first attention: logits of own places are so many logs of N above the mean
START_DEPTHS = (0.2, 1.2)  # from and to, units: of the walls that queries begin with


class RgbdPatchFeatures(nn.Module):
    """What is known of a patch: colours, the shape of its points, where they and it are; then transformer blocks.

    Our stand-in for the large frozen network whose features the paper takes. As there, features know the place in the
    picture, by which queries can share the picture out among them.

    Shapes:
        images (B, 3, H, W), points (B, 3, H, W), valid (B, 1, H, W), anchors (B, P, 3), codes (B, P, 6 * octaves)
        -> (B, P, F)
    """

    def __init__(self, *, patch_size: int, width: int, depth: int, num_heads: int, code_dim: int):
        super().__init__()
        self.patch_size = patch_size
        self.patch_embed = nn.Conv2d(7, width, patch_size, stride=patch_size)
        self.place = nn.Linear(code_dim, width)
        self.place_in_picture = nn.Linear(4 * PICTURE_OCTAVES, width)
        nn.init.normal_(self.place_in_picture.weight, std=0.5)  # louder than what patches hold
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, images: Tensor, points: Tensor, valid: Tensor, anchors: Tensor, codes: Tensor) -> Tensor:
        rows, columns = (side // self.patch_size for side in images.shape[2:])
        centre = F.interpolate(to_map(anchors, rows, columns), scale_factor=self.patch_size)  # (B, 3, H, W)
        # a patch is about as wide as its side times its depth over the focal length: shapes come out at about 1
        shape = torch.where(valid, (points - centre) / centre[:, 2:].clamp_min(1e-6), 0.0) * 16
        seen = torch.cat([images * 2 - 1, shape.to(images.dtype), valid.to(images.dtype)], dim=1)
        places = picture_code(rows, columns, device=images.device).to(images.dtype)
        hidden = to_tokens(self.patch_embed(seen)) + self.place(codes) + self.place_in_picture(places)
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm_out(hidden)


def picture_code(rows: int, columns: int, *, device: torch.device) -> Tensor:
    """The codes of the places of patches in a picture whose sides are 1: (P, 4 * PICTURE_OCTAVES)."""
    row, column = (((torch.arange(count, device=device) + 0.5) / count) for count in (rows, columns))
    places = torch.stack([row.unsqueeze(1).expand(rows, columns), column.expand(rows, columns)], dim=-1)
    return octave_code(places.flatten(0, 1), PICTURE_OCTAVES)


class GaussianHead(nn.Module):
    """A patch's features -> offset of its mean, log scales, rotation and opacity. GST-VLA, arXiv:2603.09079.

    Opacity is told from the features at three scales: of the patch, and means of those of 2x2 and 4x4 patches.

    Args:
        feature_width: F.
        head_widths: hidden layers; the last is that of the opacity, too.
        offset: whether means move; else they are where the points are.
        isotropic: whether one scale is told for all directions.
        rotated: whether Gaussians turn.
        start_scale: standard deviation before anything is learned, in metres.

    Shapes:
        features (B, P, F) of (rows, columns) patches -> offsets (B, P, 3), log scales (B, P, 3), quaternions (B, P, 4),
        opacities (B, P), all float32
    """

    def __init__(
        self,
        *,
        feature_width: int,
        head_widths: PySequence[int],
        offset: bool,
        isotropic: bool,
        rotated: bool,
        start_scale: float,
    ):
        super().__init__()
        self.told = (3 if offset else 0, 1 if isotropic else 3, 4 if rotated else 0)
        widths = [feature_width, *head_widths]
        layers = [layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), nn.GELU())]
        last = nn.Linear(widths[-1], sum(self.told))
        self.shape = nn.Sequential(*layers, last)
        self.opacity = nn.Sequential(nn.Linear(3 * feature_width, widths[-1]), nn.GELU(), nn.Linear(widths[-1], 1))
        with torch.no_grad():  # Gaussians begin round, where their points are
            last.weight.mul_(0.1)
            last.bias.zero_()
            last.bias.split(self.told)[1].fill_(math.log(start_scale))

    def forward(self, features: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        told = self.shape(features).float()
        offsets, log_scales, turn = told.split(self.told, dim=-1)
        offsets = offsets if offsets.shape[-1] else torch.zeros_like(told[..., :1]).expand(*told.shape[:2], 3)
        log_scales = log_scales.expand(*told.shape[:2], 3)
        still = told.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(*told.shape[:2], 4)
        quaternions = still + turn if turn.shape[-1] else still
        scales = torch.cat([features, *(neighbourhood(features, grid, side) for side in (2, 4))], dim=-1)
        opacities = torch.sigmoid(self.opacity(scales).float()).squeeze(-1)
        return offsets, log_scales.clamp(*LOG_SCALES), quaternions, opacities


def neighbourhood(features: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """For each patch the mean of the block of side x side patches that it is in: (B, P, F) -> (B, P, F)."""
    rows, columns = grid
    means = F.avg_pool2d(to_map(features, rows, columns), side, ceil_mode=True, count_include_pad=False)
    return to_tokens(means.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :rows, :columns])


def check_known(valid: Tensor) -> None:
    """Raises ValueError unless some patch of every sample has depth; `valid` is bool (B, P)."""
    if torch.compiler.is_compiling() or valid.device.type == "meta" or bool(valid.any(1).all()):
        return
    sample = int((~valid.any(1)).nonzero()[0])
    raise ValueError(f"depth of sample {sample} is not known anywhere: it must be above 0, in metres, in some patch")


class SpatialAttentionPool(nn.Module):
    """N learned queries read P tokens by one softmax over them. GST-VLA, arXiv:2603.09079.

    Shapes:
        tokens (B, P, D), valid bool (B, P) -> latents (B, N, D), weights float32 (B, N, P), rows of sum 1
    """

    def __init__(self, *, width: int, num_tokens: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_tokens, width))
        self.to_key = nn.Linear(width, width)
        self.to_value = nn.Linear(width, width)

    def forward(self, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.queries @ self.to_key(tokens).transpose(1, 2) * tokens.shape[-1] ** -0.5  # (B, N, P)
        weights = logits.float().masked_fill(~valid.unsqueeze(1), -torch.inf).softmax(-1)
        return weights.to(tokens.dtype) @ self.to_value(tokens), weights


class GaussianLiftEncoder(Encoder):
    """RGB-D pictures as N Gaussians in space, each with features. GST-VLA, arXiv:2603.09079.

    Every patch becomes a Gaussian: around the mean of its points, moved by a learned offset in metres, with learned
    scales, rotation and opacity. A learned attention pools them: features by its weights, Gaussians to the one Gaussian
    that has the mean and covariance of their mixture. (The paper pools the features alone; with the same weights the
    tokens stay Gaussians.)

    Args:
        image_size, patch_size: pixels per side.
        num_tokens: N.
        feature_width, feature_depth, feature_heads: of the patches' own network, or of given features where the depth
            is None.
        head_widths, offset, isotropic, rotated, start_scale: as `GaussianHead` says; the Gaussians of tokens are round
            where those of patches are.
        octaves, unit: of the code of means.
        code: whether it is of means in `space`, or learned for each place in the `picture`.
        width: D.

    Shapes:
        images (B, 3, H, W) in [0, 1]; depth (B, h, w) in metres, of any resolution, 0, negative, NaN or infinite where
        it is not known; intrinsics (B, 3, 3) in pixels of the images; features (B, P, F) of the patches, row-major,
        where they are given
        -> latents (B, N, D), geometry float32 (B, N, 10), as `tokzoo.layers.projection` has it

    Raises:
        ValueError: a sample without any depth.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        num_tokens: int,
        feature_width: int,
        feature_depth: int | None,
        feature_heads: int,
        head_widths: PySequence[int],
        offset: bool,
        isotropic: bool,
        rotated: bool,
        start_scale: float,
        octaves: int,
        unit: float,
        code: Literal["space", "picture"],
        width: int,
    ):
        super().__init__()
        self.patch_size, self.octaves, self.unit, self.isotropic = patch_size, octaves, unit, isotropic
        code_dim = 6 * octaves
        self.features = (
            None
            if feature_depth is None
            else RgbdPatchFeatures(
                patch_size=patch_size,
                width=feature_width,
                depth=feature_depth,
                num_heads=feature_heads,
                code_dim=code_dim,
            )
        )
        num_patches = (image_size // patch_size) ** 2
        self.places = None if code == "space" else nn.Parameter(torch.randn(num_patches, code_dim) * 0.5**0.5)
        self.head = GaussianHead(
            feature_width=feature_width,
            head_widths=head_widths,
            offset=offset,
            isotropic=isotropic,
            rotated=rotated,
            start_scale=start_scale,
        )
        self.to_token = nn.Linear(feature_width + code_dim + 3 + 4 + 1, width)
        self.pool = SpatialAttentionPool(width=width, num_tokens=num_tokens)
        if not self.to_token.weight.is_meta:
            self._start(image_size, feature_width)

    def forward(self, images: Tensor, depth: Tensor, intrinsics: Tensor, features: Tensor | None = None) -> Features:
        raw = self.read(images, depth, intrinsics, features)
        assert raw.geometry is not None and raw.valid is not None
        latents, weights = self.pool(raw.latents, raw.valid)
        with without_autocast(weights.device):
            gaussians = mixtures(weights, Gaussians3D.unpack(raw.geometry))
            geometry = (rounded(gaussians) if self.isotropic else gaussians).pack()
        return Features(latents, Gaussians(latents.shape[1]), geometry, aux={"weights": weights})

    def read(self, images: Tensor, depth: Tensor, intrinsics: Tensor, features: Tensor | None = None) -> Features:
        """The Gaussians of the patches, before pooling: latents (B, P, D), geometry (B, P, 10), valid (B, P)."""
        rows, columns = (side // self.patch_size for side in images.shape[2:])
        with without_autocast(images.device):
            depth = F.interpolate(depth.float().unsqueeze(1), images.shape[2:], mode="nearest-exact").squeeze(1)
            known = depth.isfinite() & (depth > 0)  # (B, H, W)
            points = lift(torch.where(known, depth, 0.0), intrinsics.float())  # (B, 3, H, W)
            share = F.avg_pool2d(known.float().unsqueeze(1), self.patch_size)
            anchors = to_tokens(F.avg_pool2d(points, self.patch_size) / share.clamp_min(1e-6))  # (B, P, 3)
        valid = to_tokens(share).squeeze(2) > 0
        check_known(valid)
        if self.features is not None:
            features = self.features(images, points, known.unsqueeze(1), anchors, self._code(anchors).to(images.dtype))
        if features is None:
            raise ValueError("this encoder has no network of patches: give their features (B, P, feature_width)")
        offsets, log_scales, quaternions, opacities = self.head(features, (rows, columns))
        means = anchors + offsets
        with without_autocast(images.device):
            gaussians = Gaussians3D(means, covariances(log_scales, quaternions), opacities * valid)
        quaternions = F.normalize(quaternions, dim=-1)
        told = torch.cat([self._code(means), log_scales, quaternions, opacities.unsqueeze(-1)], dim=-1)
        tokens = self.to_token(torch.cat([features, told.to(features.dtype)], dim=-1))
        return Features(tokens, Gaussians(rows * columns), gaussians.pack(), valid)

    def _code(self, means: Tensor) -> Tensor:
        """What tells where patches are: (B, P, 3) -> (B, P, 6 * octaves), float32."""
        if self.places is None:
            return octave_code(means / self.unit, self.octaves)
        return self.places.float().expand(len(means), -1, -1)

    @torch.no_grad()
    def _start(self, image_size: int, feature_width: int) -> None:
        """Queries begin as the keys of places spread evenly over grey walls: near patches are read, and all by some."""
        count, size = len(self.pool.queries), (image_size, image_size)
        depth = torch.linspace(*START_DEPTHS, 8).mul(self.unit)[:, None, None].expand(8, *size)
        grey, cameras = torch.full((8, 3, *size), 0.5), default_intrinsics(size).expand(8, 3, 3)
        side = image_size // self.patch_size
        given = None if self.features is not None else torch.zeros(8, side**2, feature_width)
        keys = self.pool.to_key(self.read(grey, depth, cameras, given).latents).mean(0)
        keys = keys - keys.mean(0)  # (P, D): by what a patch is unlike others
        place = (torch.arange(count) + 0.5) / count
        rows = max(round(math.sqrt(count)), 1)
        lattice = torch.stack([place * rows % 1, place], dim=-1) * 2 - 1  # (N, 2): column and row, corners at -1 and 1
        chart = to_map(keys.unsqueeze(0), side, side)
        sampled = F.grid_sample(chart, lattice[None, None], padding_mode="border", align_corners=False)
        queries = sampled[0, :, 0].T  # (N, D)
        own = (queries @ keys.T).amax(1).mean() * keys.shape[1] ** -0.5
        self.pool.queries.copy_(queries * (START_SHARPNESS * math.log(1 + count) / own.clamp_min(1e-6)))
