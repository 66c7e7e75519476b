"""Members of tar files, read in place: nothing is unpacked."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["TarFiles"]


class TarFiles:
    """Named contents of one tar, or of several that are shards of one set; by any number of threads and processes.

    Headers are read once, now; a member's bytes when they are asked for, from its place in the file.

    Args:
        paths: tar files, not compressed.

    Raises:
        ValueError: what is no plain tar, or one name in two places.
    """

    def __init__(self, paths: Sequence[Path]):
        self._places: dict[str, tuple[Path, int, int]] = {}  # name -> file, first byte, how many
        for path in paths:
            self._index(path)
        self.names = set(self._places)

    def _index(self, path: Path) -> None:
        try:
            with tarfile.open(path, "r:") as archive:
                members = [member for member in archive if member.isfile()]
        except tarfile.TarError as error:
            raise ValueError(f"{path} is no plain tar ({error}); if it is compressed, decompress it first") from error
        for member in members:
            name = member.name.removeprefix("./")
            if name in self._places:
                raise ValueError(f"{name} is in {self._places[name][0]} and again in {path}; which one is meant?")
            self._places[name] = (path, member.offset_data, member.size)

    def read(self, name: str) -> bytes:
        path, first, size = self._places[name]
        with open(path, "rb") as opened:
            opened.seek(first)
            return opened.read(size)
