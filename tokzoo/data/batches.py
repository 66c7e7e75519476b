"""Batches of photos as a pure function of (seed, step), so that a resumed run needs no state of its loader.

B batch, H W pixels of a photo, S side of a crop.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tokzoo.images import Resample, resize_and_crop

__all__ = ["Chosen", "Photos", "Prefetcher", "TrainingImages", "evaluation_images", "shown", "to_images"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Photos(Protocol):
    """What batches read: an `ImageFolder`, or a list of uint8 arrays (H, W, 3)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


class Chosen:
    """Some photos of another source, by position."""

    def __init__(self, photos: Photos, indices: Sequence[int]):
        self._photos, self._indices = photos, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return self._photos[self._indices[index]]

    @property
    def labels(self) -> list[str] | None:
        """Of these photos, where the source has labels."""
        labels = getattr(self._photos, "labels", None)
        return None if labels is None else [labels[index] for index in self._indices]


class TrainingImages:
    """Random square crops of photos, for training.

    Every photo is first cut to its central part of at most 2:1 and resized (antialiased bicubic) so that its shorter
    side is `image_size * zoom`. If all of them fit, they are decoded once and kept in memory.

    Args:
        photos: where they come from.
        image_size: pixels of the side that training takes.
        cache_bytes: memory that the photos may fill; beyond it they are decoded anew for every batch.
        zoom: room around a crop, at least 1: crop sides run from image_size to image_size * zoom.

    Raises:
        ValueError: `zoom` below 1, or no photos.
    """

    def __init__(self, photos: Photos, image_size: int, *, cache_bytes: int = 2**31, zoom: float = 1.125):
        if zoom < 1 or not len(photos):
            raise ValueError(f"needs at least one photo and a zoom of at least 1; got {len(photos)} and {zoom}")
        self._photos = photos
        self.image_size = image_size
        self.largest_crop = round(image_size * zoom)
        self._cache = self._decode_all(cache_bytes)

    def __len__(self) -> int:
        return len(self._photos)

    def batch(self, step: int, *, seed: int, batch_size: int, flip: bool = True) -> Tensor:
        """The crops of one step: uint8 (B, 3, S, S) RGB, one S per batch; the caller resizes them to `image_size`.

        An epoch shows every photo once, in an order drawn from (seed, epoch); batches run on across its end.

        Args:
            step: number of the batch, from 0.
            seed: with `step`, decides everything.
            batch_size: B.
            flip: mirror half of the crops.
        """
        rng = np.random.default_rng((seed, step, 1))  # 1 keeps it apart from (seed, epoch)
        return self.crops(self.indices(step, seed=seed, batch_size=batch_size), rng, flip=flip)

    def crops(self, rows: Sequence[int], rng: np.random.Generator, *, flip: bool = True) -> Tensor:
        """A random crop of each of these photos: uint8 (B, 3, S, S)."""
        side = int(rng.integers(self.image_size, self.largest_crop, endpoint=True))
        positions = rng.random((len(rows), 2))
        mirrored = rng.random(len(rows)) < 0.5 if flip else np.zeros(len(rows), dtype=bool)
        crops = np.empty((len(rows), 3, side, side), dtype=np.uint8)
        for row, index in enumerate(rows):
            photo = self._cache[index] if self._cache else self._decode(index)
            top, left = (int(u * (size - side + 1)) for u, size in zip(positions[row], photo.shape[1:], strict=True))
            crop = photo[:, top : top + side, left : left + side]
            crops[row] = crop[:, :, ::-1] if mirrored[row] else crop
        return torch.from_numpy(crops)

    def indices(self, step: int, *, seed: int, batch_size: int) -> list[int]:
        """Which photos `batch` shows."""
        return shown(len(self), step, seed=seed, batch_size=batch_size)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        """Photo `index` at the size to crop from, (3, H, W): a crop's rows are then contiguous."""
        photo = self._photos[index]
        height, width = photo.shape[:2]
        shorter = min(height, width)
        kept_height, kept_width = min(height, 2 * shorter), min(width, 2 * shorter)
        top, left = (height - kept_height) // 2, (width - kept_width) // 2
        photo = photo[top : top + kept_height, left : left + kept_width]
        if shorter != self.largest_crop:
            scale = self.largest_crop / shorter
            size = (round(kept_width * scale), round(kept_height * scale))
            photo = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
        return np.ascontiguousarray(photo.transpose(2, 0, 1))

    def _decode_all(self, cache_bytes: int) -> list[NDArray[np.uint8]]:
        """All photos, or none if they do not fit."""
        photos: list[NDArray[np.uint8]] = []
        free = cache_bytes
        if len(self) * 3 * self.largest_crop**2 <= free:  # the least that they can fill: all square
            pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
            try:
                for photo in tqdm(pool.map(self._decode, range(len(self))), total=len(self), desc="decoding photos"):
                    free -= photo.nbytes
                    if free < 0:
                        break
                    photos.append(photo)
            finally:
                pool.shutdown(cancel_futures=True)
        if len(photos) == len(self):
            return photos
        logger.info("the photos fill more than %d bytes: they are decoded for every batch", cache_bytes)
        return []


def shown(count: int, step: int, *, seed: int, batch_size: int) -> list[int]:
    """Which of `count` samples batch `step` shows: an epoch shows each once; batches run on across its end."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return [int(_permutation(seed, place // count, count)[place % count]) for place in places]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Order of the photos in one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class Prefetcher(Generic[T]):
    """Makes the batches of coming steps in background threads; iterates (step, batch) in order, without end.

    It keeps no state to save: a resumed run starts one at its step. An exception of `make_batch` is raised at its step,
    in the thread that iterates, and closes it.

    Args:
        make_batch: step -> batch, a pure function.
        start_step: the first step.
        depth: how many batches are made ahead.
        workers: threads.
    """

    def __init__(self, make_batch: Callable[[int], T], start_step: int, depth: int = 4, workers: int = 2):
        self._make_batch = make_batch
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
        self._next_step = start_step
        self._ahead: deque[tuple[int, Future[T]]] = deque()
        for _ in range(depth):
            self._submit()

    def __iter__(self) -> Iterator[tuple[int, T]]:
        return self

    def __next__(self) -> tuple[int, T]:
        if not self._ahead:
            raise StopIteration
        step, future = self._ahead.popleft()
        try:
            batch = future.result()
        except BaseException:
            self.close()
            raise
        self._submit()
        return step, batch

    def _submit(self) -> None:
        self._ahead.append((self._next_step, self._pool.submit(self._make_batch, self._next_step)))
        self._next_step += 1

    def close(self) -> None:
        """Drops what was made ahead and ends the threads; the iteration is over then. More than once is fine."""
        self._ahead.clear()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Prefetcher[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def evaluation_images(
    photos: Photos, image_size: int, *, limit: int | None = None, resample: Resample = "bicubic"
) -> Tensor:
    """The centre squares of photos, in their order, as uint8 (N, 3, image_size, image_size) RGB.

    Args:
        photos: where they come from.
        image_size: pixels of a side.
        limit: take only the first so many. None: all.
        resample: filter of `tokzoo.images.resize_and_crop`.
    """
    count = len(photos) if limit is None else min(limit, len(photos))
    squares = np.empty((count, image_size, image_size, 3), dtype=np.uint8)
    for index in range(count):
        square = resize_and_crop(Image.fromarray(photos[index]), image_size, resample=resample)
        squares[index] = np.asarray(square)
    return torch.from_numpy(squares).permute(0, 3, 1, 2).contiguous()


def to_images(batch: Tensor, size: int) -> Tensor:
    """uint8 (B, 3, s, s) -> float (B, 3, size, size) in [0, 1], shrunk with antialiasing where s > size."""
    images = batch.float() / 255
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
