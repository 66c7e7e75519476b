"""Names of samples: kept in the file, later names of pictures. They never lead out of a folder."""

import re
from collections.abc import Sequence

from tokzoo.token_files.errors import TokenFileError

MAX_BYTES = 200  # with a suffix, still a file name on every system
_FORBIDDEN = re.compile(  # separators, wildcards, control characters, characters that turn the writing direction
    r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows, whatever the suffix


def check_labels(labels: Sequence[str]) -> None:
    """Raises TokenFileError unless each label is a plain file name, without folder, drive or control character."""
    for label in labels:
        if problem := _problem(label):
            raise TokenFileError(f"the label {str(label)[:80]!r} {problem}; safe_label(text) makes one that fits")


def safe_label(text: str) -> str:
    """The nearest label to any text: what is forbidden becomes _, what is too long is cut."""
    label = _FORBIDDEN.sub("_", text).encode()[: MAX_BYTES - 1].decode(errors="ignore")
    label = re.sub(r"^[. ]|[. ]$", "_", label)
    return f"_{label}" if not label or _DEVICES.fullmatch(label) else label


def _problem(label: object) -> str | None:
    if not isinstance(label, str):
        return "must be text"
    if not label:
        return "is empty"
    if _FORBIDDEN.search(label):
        return 'holds one of / \\ : * ? " < > |, or a control character'
    if label[0] in ". " or label[-1] in ". ":
        return "must not begin or end with a dot or a space"
    if _DEVICES.fullmatch(label):
        return "is the name of a device on Windows"
    return f"is longer than {MAX_BYTES} bytes" if len(label.encode()) > MAX_BYTES else None
