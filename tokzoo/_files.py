"""Files that are either the old one or the new one, never half written, whatever crash or full disk comes between."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

AGAIN = "fetch it again (tokzoo download NAME --force), or copy it here anew"


@contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path to write to; when the block ends, the file there takes the place of `path` in one step.

    The yielded path lies in the same folder and has the same suffix, for writers that choose a format by it. Nothing is
    there yet. An exception in the block removes what was written and leaves `path` as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the content before the name
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a file in one step. Text is written as UTF-8, its line ends as they are."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hash(path: Path, sha256: str | None) -> None:
    """Raises ValueError unless the file has the recorded hash, if one is recorded."""
    if sha256 is None:
        return
    found = sha256_of(path)
    if found != sha256:
        raise ValueError(
            f"{path} has sha256 {found}, recorded is {sha256}; {AGAIN}. If that stays so, its source changed it"
        )


def data_folder(name: Literal["checkpoints", "golden", "known", "protocols"]) -> Path:
    """A folder that travels with tokzoo: in the wheel under tokzoo/_data, in a checkout beside tokzoo/ or deeper."""
    package = Path(__file__).parent
    checkout = package.parent
    for folder in (
        package / "_data" / name,
        *(above / name for above in (checkout, checkout / "eval", checkout / "tests")),
    ):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of tokzoo lacks its {name} folder; reinstall it")


def cache_folder(name: Literal["references"]) -> Path:
    """A folder, perhaps not there yet, for what can be made again: in $TOKZOO_CACHE, or tokzoo/ of the user's cache."""
    of_user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TOKZOO_CACHE") or f"{of_user}/tokzoo").expanduser() / name


def plain_name(name: str) -> str:
    """A name for files and folders of any system: letters, digits and ._- stay, all else is _."""
    return "".join(character if character.isalnum() or character in "._-" else "_" for character in name)


def _sync_folder(folder: Path) -> None:
    """Puts the new name on the disk; only POSIX can open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
