"""Scenes of a floor, walls, balls and boxes, of which depth and normals are known exactly. A pure function of numbers.

B scenes, R rays, K things of a kind. Lengths are metres in the camera's frame: x to the right, y down, z ahead.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tokzoo.layers.camera import lift, pixel_rays

PLANES, BALLS, BOXES = 2, 2, 2  # a floor and a wall; others may be of no size, which no ray meets
DRAWS = 64  # uniform numbers that a scene is made of
FAR = 1e6
CHECKER = 0.35  # metres per side of the floor's squares


class Hit(NamedTuple):
    """What rays (B, R) meet first: `depth` along the camera's axis, `normal` (B, R, 3) towards the camera, `thing`."""

    depth: Tensor
    normal: Tensor
    thing: Tensor


class Rgbd(NamedTuple):
    """Pictures with depth: `images` (B, 3, H, W) in [0, 1], `depth` (B, H, W) metres, `intrinsics` (B, 3, 3)."""

    images: Tensor
    depth: Tensor
    intrinsics: Tensor


@dataclass(frozen=True)
class Scenes:
    """B scenes. The rows of `frames` are the axes of the floor, its normal second.

    Args:
        intrinsics: (B, 3, 3) of cameras of `size` (H, W).
        normals, offsets: (B, PLANES, 3), (B, PLANES): points p of a plane have normal . p = offset.
        balls, radii: (B, BALLS, 3), (B, BALLS).
        boxes, halves, frames: (B, BOXES, 3), (B, BOXES, 3), (B, BOXES, 3, 3), whose rows are the axes of a box.
        colours: (B, things, 3), planes first, then balls, then boxes.
        light: (B, 3), towards it.
    """

    size: tuple[int, int]
    intrinsics: Tensor
    normals: Tensor
    offsets: Tensor
    balls: Tensor
    radii: Tensor
    boxes: Tensor
    halves: Tensor
    frames: Tensor
    colours: Tensor
    light: Tensor

    def cast(self, rays: Tensor) -> Hit:
        """Rays (B, R, 3) from the camera, of depth 1 each -> what they meet."""
        met = [_planes(rays, self), _balls(rays, self), _boxes(rays, self)]
        depth, normal = (torch.cat(part, dim=1) for part in zip(*met, strict=True))  # (B, things, R), (..., 3)
        nearest, thing = depth.min(1)
        chosen = thing[:, None, :, None].expand(-1, 1, -1, 3)
        towards = normal.gather(1, chosen).squeeze(1)
        towards = torch.where((towards * rays).sum(-1, keepdim=True) > 0, -towards, towards)
        return Hit(nearest, towards, thing)

    def cast_pixels(self) -> Hit:
        """What the rays of all pixels meet, row-major."""
        return self.cast(pixel_rays(self.intrinsics, self.size).flatten(2).transpose(1, 2))

    def render(self) -> Rgbd:
        """The pictures: matt things in one light, the floor chequered."""
        hit = self.cast_pixels()
        depth = hit.depth.unflatten(1, self.size)
        points = lift(depth, self.intrinsics).flatten(2).transpose(1, 2)  # (B, R, 3)
        colour = self.colours.gather(1, hit.thing.unsqueeze(-1).expand(-1, -1, 3))
        across = (points @ self.frames[:, 0].transpose(1, 2)) / CHECKER  # along the axes of the floor
        dark = (across[..., 0].floor() + across[..., 2].floor()) % 2 * (hit.thing == 0)
        lit = 0.45 + 0.55 * (hit.normal * self.light.unsqueeze(1)).sum(-1).clamp_min(0)
        shades = colour * ((1 - 0.4 * dark) * lit).unsqueeze(-1)
        images = shades.transpose(1, 2).unflatten(2, self.size).clamp(0, 1)
        return Rgbd(images, depth, self.intrinsics)


def scenes(indices: list[int], *, seed: int, image_size: int) -> Scenes:
    """Scenes of those numbers: a tilted floor, a wall, up to two balls and two boxes that stand on the floor."""
    drawn = np.stack([np.random.default_rng((seed, index)).random(DRAWS) for index in indices])
    draw = _Draws(torch.from_numpy(drawn).float())
    count = len(indices)
    pitch, roll, turn = draw(0.15, 0.6), draw(-0.1, 0.1), draw(-0.6, 0.6)
    up = torch.stack([roll.sin(), -roll.cos() * pitch.cos(), -roll.cos() * pitch.sin()], dim=-1)  # out of the floor
    ahead = _unit(torch.stack([turn.sin(), torch.zeros(count), turn.cos()], dim=-1))
    ahead = _unit(ahead - (ahead * up).sum(-1, keepdim=True) * up)
    aside = torch.linalg.cross(up, ahead)
    height, wall = draw(0.9, 1.6), draw(2.5, 4.5)
    origin = -height.unsqueeze(-1) * up  # the point of the floor below the camera

    def stand(high: Tensor) -> Tensor:
        """The centre of something on the floor, so high above it, in view."""
        away, side = draw(0.4, 0.85) * wall, draw(-0.45, 0.45)
        forward = torch.stack([side, torch.zeros(count), torch.ones(count)], dim=-1)
        forward = _unit(forward - (forward * up).sum(-1, keepdim=True) * up)
        return origin + away.unsqueeze(-1) * forward + high.unsqueeze(-1) * up

    radii = torch.stack([draw(0.15, 0.45) * (draw(0, 1) < 0.8) for _ in range(BALLS)], dim=1)
    balls = torch.stack([stand(radii[:, ball]) for ball in range(BALLS)], dim=1)
    there = torch.stack([(draw(0, 1) < 0.8).float() for _ in range(BOXES)], dim=1)
    halves = torch.stack([torch.stack([draw(0.1, 0.35) for _ in range(3)], dim=-1) for _ in range(BOXES)], dim=1)
    boxes = torch.stack([stand(halves[:, box, 1]) for box in range(BOXES)], dim=1)
    floor = torch.stack([aside, up, ahead], dim=1)  # (B, 3, 3)
    frames = torch.stack([_turned(floor, draw(0, math.pi / 2)) for _ in range(BOXES)], dim=1)
    focal, side = draw(0.8, 1.2) * image_size, torch.full((count,), (image_size - 1) / 2)
    zero, one = torch.zeros(count), torch.ones(count)
    intrinsics = torch.stack([focal, zero, side, zero, focal, side, zero, zero, one], dim=-1).view(count, 3, 3)
    return Scenes(
        size=(image_size, image_size),
        intrinsics=intrinsics,
        normals=torch.stack([up, -ahead], dim=1),
        offsets=torch.stack([-height, -wall], dim=1),
        balls=balls,
        radii=radii,
        boxes=boxes,
        halves=halves * there.unsqueeze(-1),
        frames=frames,
        colours=torch.stack(
            [torch.stack([draw(0.2, 1.0) for _ in range(3)], dim=-1) for _ in range(PLANES + BALLS + BOXES)], dim=1
        ),
        light=_unit(up + torch.stack([draw(-0.8, 0.8), draw(-0.3, 0.3), draw(-0.8, 0.2)], dim=-1)),
    )


class _Draws:
    """Hands out the columns of uniform numbers (B, DRAWS), scaled, one after another."""

    def __init__(self, uniform: Tensor):
        self.uniform, self.next = uniform, 0

    def __call__(self, least: float, most: float) -> Tensor:
        self.next += 1
        return least + (most - least) * self.uniform[:, self.next - 1]


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def _turned(frame: Tensor, angle: Tensor) -> Tensor:
    """A frame (B, 3, 3), turned about its second axis."""
    aside, up, ahead = frame.unbind(1)
    cos, sin = angle.cos().unsqueeze(-1), angle.sin().unsqueeze(-1)
    return torch.stack([cos * aside + sin * ahead, up, cos * ahead - sin * aside], dim=1)


def _planes(rays: Tensor, scenes: Scenes) -> tuple[Tensor, Tensor]:
    """Depth (B, K, R) and normals (B, K, R, 3) where rays meet planes; `FAR` where they do not."""
    depth = scenes.offsets.unsqueeze(2) / (scenes.normals @ rays.transpose(1, 2))
    return torch.where(depth > 0, depth, FAR), scenes.normals.unsqueeze(2).expand(*depth.shape, 3)


def _balls(rays: Tensor, scenes: Scenes) -> tuple[Tensor, Tensor]:
    square = rays.square().sum(-1).unsqueeze(1)
    along = scenes.balls @ rays.transpose(1, 2)
    beyond = (scenes.balls.square().sum(-1) - scenes.radii.square()).unsqueeze(2)
    root = along.square() - square * beyond
    depth = (along - root.clamp_min(0).sqrt()) / square
    there = (root > 0) & (depth > 0) & (scenes.radii.unsqueeze(2) > 0)
    points = depth.unsqueeze(-1) * rays.unsqueeze(1)
    return torch.where(there, depth, FAR), _unit(points - scenes.balls.unsqueeze(2))


def _boxes(rays: Tensor, scenes: Scenes) -> tuple[Tensor, Tensor]:
    inside = torch.einsum("bkij,brj->bkri", scenes.frames, rays)  # rays and the camera, along the axes of a box
    camera = -torch.einsum("bkij,bkj->bki", scenes.frames, scenes.boxes).unsqueeze(2)
    slope = torch.where(inside.abs() < 1e-9, 1e-9, inside)
    half = scenes.halves.unsqueeze(2)
    ends = torch.stack([(-half - camera) / slope, (half - camera) / slope])
    enter, axis = ends.amin(0).max(-1)
    leave = ends.amax(0).amin(-1)
    there = (enter < leave) & (enter > 0) & (half.amin(-1) > 0)
    normal = scenes.frames.gather(2, axis.unsqueeze(-1).expand(-1, -1, -1, 3))
    return torch.where(there, enter, FAR), normal
