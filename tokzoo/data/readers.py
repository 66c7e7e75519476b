"""Photos in a folder or a zip, by position, with labels and a split where a manifest gives them."""

import csv
import io
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tokzoo.images import open_image

__all__ = ["ImageFolder"]

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
MANIFEST = "manifest.csv"


class ImageFolder:
    """The images of a folder (at any depth) or of a zip, sorted by name and decoded when asked for.

    Where a `manifest.csv` lies beside them, its rows are the images: column `file` is the name relative to the manifest,
    and `split` and `label` are read if they are there. Nothing outside the folder is read, and a zip is not unpacked.

    Args:
        path: the folder or zip.
        split: take the manifest's rows of this split only. None: all.
        skip_unreadable: decode every image once now, leave out those that cannot be read, and log how many.

    Attributes:
        names: file names relative to `path`.
        labels: one per image: the manifest's, or the name of the folder that holds the image. None if there are neither.

    Raises:
        FileNotFoundError: no such folder or zip, or a manifest row without its file.
        ValueError: no images, a split that the manifest lacks, or a name that leads out of the folder.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, skip_unreadable: bool = False) -> None:
        self.path = Path(path)
        self._files: _Files = _DiskFiles(self.path) if self.path.is_dir() else _ZipFiles(self.path)
        rows = self._rows(split)
        if skip_unreadable:
            rows = self._readable(rows)
        if not rows:
            raise ValueError(f"no images in {self.path}; files are taken by suffix: {', '.join(sorted(SUFFIXES))}")
        self.names = [name for name, _ in rows]
        labels = [label for _, label in rows if label is not None]
        self.labels = labels if len(labels) == len(rows) else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, 3), RGB. ValueError naming the file if it cannot be read."""
        return self._read(self.names[index])

    def _read(self, name: str) -> NDArray[np.uint8]:
        content = self._files.read(name)
        try:
            return np.array(open_image(content))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read image {name!r} in {self.path}: {error}") from error

    def _rows(self, split: str | None) -> list[tuple[str, str | None]]:
        """(name, label) of every image, sorted."""
        if MANIFEST in self._files.names:
            return sorted(self._manifest_rows(split))
        if split is not None:
            raise ValueError(f"split={split!r} needs a {MANIFEST} in {self.path}; there is none, so leave it None")
        images = (name for name in self._files.names if PurePosixPath(name).suffix.lower() in SUFFIXES)
        return [(name, PurePosixPath(name).parent.name or None) for name in sorted(images)]

