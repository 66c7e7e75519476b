"""Token files (.tkz): tokens on disk at their exact width or range coded, appended to, read by index. See docs/tkz.md."""

from tokzoo.token_files.entropy import Frequencies, NextCode
from tokzoo.token_files.errors import TokenFileError
from tokzoo.token_files.files import TokenFile, Written, append, save
from tokzoo.token_files.identity import TokenizerId, identify
from tokzoo.token_files.labels import safe_label

__all__ = [
    "Frequencies",
    "NextCode",
    "TokenFile",
    "TokenFileError",
    "TokenizerId",
    "Written",
    "append",
    "identify",
    "safe_label",
    "save",
]
