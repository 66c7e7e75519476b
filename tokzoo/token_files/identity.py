"""Whose tokens they are: a tokenizer's name, and a hash of each of its parts' weights."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

LONGEST_NAME = 200  # characters


class Identifiable(Protocol):
    """What `identify` reads of a tokenizer."""

    name: str | None

    def state_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class TokenizerId:
    """A tokenizer by name and weights.

    Args:
        name: the full registered name, if it has one.
        weights: hash (32 hexadecimal digits) per top-level part of the state dict: encoder, quantizer, decoder. One
            half of a tokenizer has the hashes of that half, so that each half knows the other's tokens.

    Raises:
        ValueError: a name that cannot be printed on a line of its own, or what is no hash.
    """

    name: str | None
    weights: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in (self.name or "-", *self.weights):
            if not (isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME):
                raise ValueError(f"names are text of up to {LONGEST_NAME} printable characters; got {name!r:.80}")
        if wrong := [text for text in self.weights.values() if not re.fullmatch("[0-9a-f]{32}", text)]:
            raise ValueError(f"hashes of weights have 32 hexadecimal digits; got {wrong[0]!r:.80}")

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {digest[:8]}" for part, digest in self.weights.items())
        return f"{self.name or 'an unnamed tokenizer'} ({parts or 'no weights'})"

    def accepts(self, other: "TokenizerId") -> bool:
        """Whether nothing tells the two apart, and something says that they are one: a name or a part's weights."""
        named = self.name is not None and other.name is not None
        shared = self.weights.keys() & other.weights.keys()
        same = all(self.weights[part] == other.weights[part] for part in shared)
        return same and (self.name == other.name if named else bool(shared))


def identify(tokenizer: Identifiable | TokenizerId) -> TokenizerId:
    """The identity of a tokenizer; of an identity, itself. All weights are read: for many files, ask once.

    Each part's hash is the first half of a SHA-256 over its tensors by sorted name: name, shape, and values. Floating
    point values count as rounded to bfloat16, so that a tokenizer cast to bfloat16 is still itself. One cast to float16
    is another, for its values are rounded twice.
    """
    if isinstance(tokenizer, TokenizerId):
        return tokenizer
    hashes: dict[str, Any] = {}
    for key, tensor in sorted(tokenizer.state_dict().items()):
        digest = hashes.setdefault(key.partition(".")[0], hashlib.sha256())
        digest.update(f"{key} {tuple(tensor.shape)}\n".encode())
        digest.update(_canonical_bytes(tensor))
    return TokenizerId(tokenizer.name, {part: digest.hexdigest()[:32] for part, digest in hashes.items()})


def _canonical_bytes(tensor: Tensor) -> bytes:
    values = tensor.detach().cpu()
    values = values.to(torch.bfloat16) if values.is_floating_point() else values
    return values.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
