"""Token files (.tkz): tokens on disk, at exact width or entropy coded, appended to, read by index: docs/tkz.md."""

from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.frequencies import Frequencies
from tokzoo.token_files.generated import NextCode
from tokzoo.token_files.identity import TokenizerId, identify
from tokzoo.token_files.labels import safe_label
from tokzoo.token_files.reading import TokenFile, cat, load
from tokzoo.token_files.writing import Written, append, save

__all__ = [
    "Frequencies",
    "NextCode",
    "TokenFile",
    "TokenFileError",
    "TokenizerId",
    "Written",
    "append",
    "cat",
    "identify",
    "load",
    "safe_label",
    "save",
]
