"""Names of samples: kept in the file, later names of pictures. They never lead out of a folder."""

import re
from collections.abc import Sequence

from tokzoo.token_files.errors import TokenFileError

MAX_BYTES = 200  # with a suffix, still a file name on every system
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff]')


def check_labels(labels: Sequence[str]) -> None:
    """Raises TokenFileError unless each label is a plain file name, without folder, drive or control character."""
    for label in labels:
        problem = (
            "must be text"
            if not isinstance(label, str)
            else "is empty"
            if not label
            else "must not begin with a dot"
            if label.startswith(".")
            else 'holds one of / \\ : * ? " < > |, or a control character'
            if _FORBIDDEN.search(label)
            else f"is longer than {MAX_BYTES} bytes"
            if len(label.encode()) > MAX_BYTES
            else None
        )
        if problem:
            raise TokenFileError(f"the label {str(label)[:80]!r} {problem}; safe_label(text) makes one that fits")


def safe_label(text: str) -> str:
    """The nearest label to any text: forbidden characters become _, what is too long is cut."""
    label = _FORBIDDEN.sub("_", text).encode()[:MAX_BYTES].decode(errors="ignore")
    return re.sub(r"^\.", "_", label) or "_"
