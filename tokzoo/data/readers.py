"""Photos in a folder, a zip or tars, by position, with labels and a split where a manifest gives them."""

import csv
import io
import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tokzoo.data.shards import TarFiles
from tokzoo.images import IMAGE_EXTENSIONS, open_image

__all__ = ["ImageFolder"]

logger = logging.getLogger(__name__)

MANIFEST = "manifest.csv"
UNREADABLE = (OSError, ValueError, BadZipFile, zlib.error)


class ImageFolder:
    """The images of a folder (at any depth), a zip or a tar, sorted by name and decoded when asked for.

    Where a `manifest.csv` lies on top, its rows are the images: column `file` is the name relative to the manifest, and
    `split` and `label` are read if they are there. Nothing outside the folder is read, and no archive is unpacked.

    Args:
        path: the folder, zip or tar, or a folder of tars that are shards of one set.
        split: take only the manifest's rows of this split. None: all.
        where: take only rows of which these columns have one of these values, `{"licence": ["MIT", "CC0-1.0"]}`.
        label_column: of the manifest.
        skip_unreadable: decode every image once now, leave out those that cannot be read, and log how many.

    Attributes:
        names: file names relative to `path`.
        labels: the manifest's, or the names of the folders that hold the images; None if there are neither.
        splits: those that the manifest names, sorted; empty without any.

    Raises:
        FileNotFoundError: no such folder, zip or tar, or a manifest row without its file.
        ValueError: no images, a split, column or value that the manifest lacks, or a link that leads out of the folder.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        split: str | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
        label_column: str = "label",
        skip_unreadable: bool = False,
    ):
        self.path = Path(path)
        self._where, self._label_column = {**(where or {})}, label_column
        self._files: _Files = _open_files(self.path)
        rows = self._manifest_rows(split) if MANIFEST in self._files.names else self._unlisted_rows(split)
        if skip_unreadable:
            rows = self._readable(rows)
        if not rows:
            raise ValueError(f"no images in {self.path}; files count by suffix: {' '.join(IMAGE_EXTENSIONS)}")
        self.splits = self._splits()
        self.names = [name for name, _ in rows]
        labels = [label for _, label in rows if label is not None]
        self.labels = labels if len(labels) == len(rows) else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, 3), RGB. ValueError naming the file if it cannot be read."""
        return self._read(self.names[index])

    def _read(self, name: str) -> NDArray[np.uint8]:
        try:
            return np.array(open_image(self._files.read(name)))
        except UNREADABLE as error:
            raise ValueError(f"cannot read the image {name!r} of {self.path}: {error}") from error

    def _manifest(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self._files.read(MANIFEST).decode("utf-8-sig"))))

    def _splits(self) -> list[str]:
        rows = self._manifest() if MANIFEST in self._files.names else []
        return sorted({row["split"] for row in rows if "split" in row})

    def _manifest_rows(self, split: str | None) -> list[tuple[str, str | None]]:
        """(name, label) of the manifest's rows in one split, sorted."""
        rows = self._manifest()
        if not rows or "file" not in rows[0]:
            raise ValueError(f"{MANIFEST} of {self.path} must have a column 'file' and at least one row")
        if split is not None:
            splits = self._splits()
            if split not in splits:
                raise ValueError(
                    f"{MANIFEST} of {self.path} has no split {split!r}; it has {', '.join(splits) or 'none'}"
                )
            rows = [row for row in rows if row["split"] == split]
        if self._label_column != "label" and self._label_column not in rows[0]:
            raise ValueError(
                f"{MANIFEST} of {self.path} has no column {self._label_column!r}; it has {', '.join(rows[0])}"
            )
        rows = self._chosen(rows)
        if absent := [row["file"] for row in rows if row["file"] not in self._files.names]:
            raise FileNotFoundError(
                f"{MANIFEST} lists {len(absent)} files that {self.path} does not hold: {', '.join(absent[:10])}"
            )
        return sorted((row["file"], row.get(self._label_column)) for row in rows)

    def _chosen(self, rows: list[dict[str, str]]) -> list[dict[str, str]]:
        """Rows that are as `where` asks."""
        for column, wanted in self._where.items():
            there = {row.get(column) for row in rows}
            unknown = [value for value in wanted if value not in there]
            if unknown:
                known = ", ".join(sorted(str(value) for value in there)[:20])
                raise ValueError(f"no row of {MANIFEST} has {column}={unknown[0]!r}; there are {known}")
            rows = [row for row in rows if row.get(column) in wanted]
        return rows

    def _unlisted_rows(self, split: str | None) -> list[tuple[str, str | None]]:
        """(name, name of its folder) of every image file, sorted."""
        if self._where:
            raise ValueError(f"where= reads the columns of a {MANIFEST}, and {self.path} has none")
        if split is not None:
            raise ValueError(f"split={split!r} needs a {MANIFEST}, and {self.path} has none; leave the split out")
        images = [
            PurePosixPath(name) for name in self._files.names if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS
        ]
        return [(str(image), image.parent.name or None) for image in sorted(images)]

    def _readable(self, rows: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """The rows whose image decodes."""
        readable = []
        for row in tqdm(rows, desc="checking images"):
            try:
                self._read(row[0])
            except ValueError as error:
                logger.debug("%s", error)
            else:
                readable.append(row)
        if unreadable := len(rows) - len(readable):
            logger.warning("left out %d of %d images of %s: they cannot be read", unreadable, len(rows), self.path)
        return readable


class _Files(Protocol):
    """Named contents: a folder or an archive. Names are relative and divided by `/`."""

    names: set[str]

    def read(self, name: str) -> bytes: ...


def _open_files(path: Path) -> _Files:
    """A folder that holds tars and no images is one of shards."""
    if not path.is_dir():
        return TarFiles([path]) if path.suffix == ".tar" else _ZipFiles(path)
    files = _FolderFiles(path)
    if any(name.lower().endswith(IMAGE_EXTENSIONS) for name in files.names):
        return files
    shards = sorted(path / name for name in files.names if name.endswith(".tar"))
    return TarFiles(shards) if shards else files


class _FolderFiles:
    """Files below a folder, hidden ones aside. A link that leads out of it is refused."""

    def __init__(self, root: Path):
        self._root = root.resolve()
        self.names = set()
        for folder, folders, files in os.walk(self._root):
            for entry in (Path(folder, name) for name in (*folders, *files)):
                if entry.is_symlink() and not entry.resolve().is_relative_to(self._root):
                    raise ValueError(f"{entry} links to {entry.resolve()}, out of the folder; put a copy in its place")
            folders[:] = [name for name in folders if not name.startswith(".")]
            self.names |= {Path(folder, name).relative_to(self._root).as_posix() for name in files if name[0] != "."}

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()


class _ZipFiles:
    """Entries of a zip, read in memory, by any number of threads and forked processes."""

    def __init__(self, path: Path):
        if path.exists() and not is_zipfile(path):
            raise ValueError(f"{path} is neither a folder, a zip nor a .tar")
        self._path = path
        self._opened: tuple[int, ZipFile] | None = None
        with ZipFile(path) as archive:
            entries = (entry.filename for entry in archive.infolist() if not entry.is_dir())
            self.names = {name for name in entries if not name.startswith("__MACOSX/")}

    def read(self, name: str) -> bytes:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():  # forked processes would share a file position
            opened = self._opened = (os.getpid(), ZipFile(self._path))
        return opened[1].read(name)
