"""Pictures with depth in a folder, as depth cameras leave them; and scenes written as such. B batch, S side.

    colour/NAME.png   (or .jpg) the picture
    depth/NAME.png    16-bit grey: depth along the axis in units of `depth_unit` metres, 0 where it is not known
    cameras.json      {"depth_unit": 0.001, "camera": [fx, fy, cx, cy], "cameras": {NAME: [fx, fy, cx, cy], ...}}

`camera` is of all pictures but those named under `cameras`, in pixels of the picture in its file; either may be missing
where the other says enough. Depth has the resolution of its own file, of the same view.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tokzoo._files import write_atomically
from tokzoo.data.batches import shown
from tokzoo.data.scenes import Rgbd, scenes
from tokzoo.images import IMAGE_EXTENSIONS, open_image

CAMERAS = "cameras.json"
DEPTH_UNIT = 1e-3  # metres, as most depth cameras count


class RgbdFolder:
    """The centre squares of pictures with depth, at one size, in memory.

    Colours are resized as in `tokzoo.images.resize_and_crop`; of depth the nearest pixel is taken, since a mean of two
    surfaces lies on neither. The cameras are those of the squares.

    Args:
        path: the folder.
        image_size: S.

    Raises:
        FileNotFoundError: no folder, no cameras.json, or a picture without depth.
        ValueError: no pictures, a picture without a camera, a file that cannot be read.
    """

    def __init__(self, path: str | Path, image_size: int):
        self.path, self.image_size = Path(path), image_size
        file = self.path / CAMERAS
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: it says fx, fy, cx, cy of the cameras; see tokzoo.data.rgbd")
        self._cameras = json.loads(file.read_text())
        found = sorted((self.path / "colour").glob("*"))
        pictures = [picture for picture in found if picture.suffix.lower() in IMAGE_EXTENSIONS]
        if not pictures:
            raise ValueError(f"no pictures in {self.path / 'colour'}; files count by suffix: {IMAGE_EXTENSIONS}")
        self.names = [picture.stem for picture in pictures]
        read = [self._read(picture) for picture in tqdm(pictures, desc="reading pictures with depth")]
        self._images, self._depth, self._intrinsics = (torch.stack(part) for part in zip(*read, strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def chosen(self, rows: Sequence[int]) -> Rgbd:
        """These pictures."""
        index = torch.tensor(rows)
        return Rgbd(self._images[index].float() / 255, self._depth[index], self._intrinsics[index])

    def batch(self, step: int, *, seed: int, batch_size: int, rows: Sequence[int] | None = None) -> Rgbd:
        """The pictures of one step, half of them mirrored: a pure function of (seed, step).

        `rows` are those to draw from; None: all.
        """
        among = range(len(self)) if rows is None else rows
        drawn = shown(len(among), step, seed=seed, batch_size=batch_size)
        mirrored = torch.from_numpy(np.random.default_rng((seed, step, 1)).random(batch_size) < 0.5)
        return mirror(self.chosen([among[row] for row in drawn]), mirrored)

    def _read(self, picture: Path) -> tuple[Tensor, Tensor, Tensor]:
        """Colours uint8 (3, S, S), depth (S, S), intrinsics (3, 3)."""
        file = self.path / "depth" / f"{picture.stem}.png"
        if not file.is_file():
            raise FileNotFoundError(f"{picture.name} has no depth: {file} is missing")
        focal_x, focal_y, centre_x, centre_y = self._camera(picture.stem)
        colours = open_image(picture)
        counts = np.asarray(Image.open(file))
        if counts.ndim != 2 or counts.dtype.kind not in "ui":
            raise ValueError(f"{file} must be one channel of whole numbers, such as 16-bit grey; got {counts.dtype}")
        side, size = min(colours.size), self.image_size
        left, top = ((length - side) // 2 for length in colours.size)
        square = colours.crop((left, top, left + side, top + side))
        square = square.resize((size, size), Image.Resampling.BICUBIC) if side != size else square
        # where the centres of the new pixels lie in the old picture
        places = (np.arange(size) + 0.5) * side / size - 0.5
        rows = np.round((places + top + 0.5) * counts.shape[0] / colours.height - 0.5).astype(int)
        columns = np.round((places + left + 0.5) * counts.shape[1] / colours.width - 0.5).astype(int)
        depth = counts[rows.clip(0, counts.shape[0] - 1)][:, columns.clip(0, counts.shape[1] - 1)]
        scale = size / side
        intrinsics = [
            [focal_x * scale, 0.0, (centre_x - left + 0.5) * scale - 0.5],
            [0.0, focal_y * scale, (centre_y - top + 0.5) * scale - 0.5],
            [0.0, 0.0, 1.0],
        ]
        metres = depth.astype(np.float32) * self._cameras.get("depth_unit", DEPTH_UNIT)
        return (
            torch.from_numpy(np.array(square)).permute(2, 0, 1),
            torch.from_numpy(metres.astype(np.float32)),
            torch.tensor(intrinsics),
        )

    def _camera(self, name: str) -> Sequence[float]:
        camera = self._cameras.get("cameras", {}).get(name, self._cameras.get("camera"))
        if camera is None or len(camera) != 4:
            raise ValueError(f"{CAMERAS} must have [fx, fy, cx, cy] as its camera, or for {name!r}; got {camera}")
        return camera


def mirror(batch: Rgbd, which: Tensor) -> Rgbd:
    """Those pictures of which `which` (B,) is true, left and right exchanged: another scene, seen as rightly."""
    width = batch.images.shape[3]
    swapped = batch.intrinsics.clone()
    swapped[:, 0, 2] = width - 1 - swapped[:, 0, 2]
    return Rgbd(
        torch.where(which[:, None, None, None], batch.images.flip(3), batch.images),
        torch.where(which[:, None, None], batch.depth.flip(2), batch.depth),
        torch.where(which[:, None, None], swapped, batch.intrinsics),
    )


class Noised(NamedTuple):
    """Depth (B, H, W) that is wrong where `wrong`, bool (B, H, W)."""

    depth: Tensor
    wrong: Tensor


def noised(depth: Tensor, *, share: float, deviation: float, generator: torch.Generator, side: int = 8) -> Noised:
    """Depth (B, H, W) with noise in a share of its squares: each is off by a factor of its own, and so is each pixel.

    Args:
        share: of the squares, drawn one by one.
        deviation: of the logs of both factors.
        generator: of the CPU.
        side: pixels per side of a square.
    """
    count, height, width = depth.shape
    squares = (count, -(-height // side), -(-width // side))

    def spread_out(values: Tensor) -> Tensor:
        return values.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :height, :width]

    wrong = spread_out(torch.rand(squares, generator=generator) < share).to(depth.device)
    logs = spread_out(torch.randn(squares, generator=generator)) + torch.randn(depth.shape, generator=generator)
    factor = (deviation * logs).exp().to(depth.device, depth.dtype)
    return Noised(torch.where(wrong, depth * factor, depth), wrong)


def write_scenes(folder: str | Path, count: int, *, seed: int, image_size: int, first: int = 0) -> Path:
    """Writes `count` generated scenes as a folder that `RgbdFolder` reads."""
    folder = Path(folder)
    for part in ("colour", "depth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cameras: dict[str, list[float]] = {}
    for start in range(0, count, 64):
        indices = list(range(first + start, first + min(start + 64, count)))
        made = scenes(indices, seed=seed, image_size=image_size).render()
        colours = (made.images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        for row, index in enumerate(indices):
            name = f"{index:06d}"
            Image.fromarray(colours[row]).save(folder / "colour" / f"{name}.png")
            Image.fromarray(_counts(made.depth[row])).save(folder / "depth" / f"{name}.png")
            camera = made.intrinsics[row]
            cameras[name] = [float(camera[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2))]
    write_atomically(folder / CAMERAS, json.dumps({"depth_unit": DEPTH_UNIT, "cameras": cameras}) + "\n")
    return folder


def _counts(depth: Tensor) -> NDArray[np.uint16]:
    """Depth (H, W) in metres, in units of `DEPTH_UNIT`; 0 where it is not known or too far."""
    counts = torch.where(depth.isfinite() & (depth > 0), depth / DEPTH_UNIT, 0.0).round()
    return torch.where(counts < 2**16, counts, 0.0).numpy().astype(np.uint16)


def main(arguments: list[str] | None = None) -> None:
    """Writes generated scenes: `python -m tokzoo.data.rgbd FOLDER --count 2000`."""
    parser = argparse.ArgumentParser(description="write generated scenes as a folder of pictures with depth")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image-size", type=int, default=64)
    given = parser.parse_args(arguments)
    write_scenes(given.folder, given.count, seed=given.seed, image_size=given.image_size)


if __name__ == "__main__":
    main()
