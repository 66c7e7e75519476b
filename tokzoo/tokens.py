"""What the parts, generators and files hand to each other. B batch, L tokens, D codes per token, C channels."""

import math
import os
from collections.abc import Sequence as PySequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tokzoo.token_files import Written

# --- layouts: how the tokens of one sample are arranged --------------------------------------------------------------


@dataclass(frozen=True)
class Sequence:
    """A one-dimensional row of tokens, in no place of the picture (TiTok, FlexTok)."""

    num_tokens: int


@dataclass(frozen=True)
class Grid:
    """Tokens on a plane, row-major."""

    height: int
    width: int

    @property
    def num_tokens(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class Grid3D:
    """Tokens in space-time, frames first, then row-major."""

    frames: int
    height: int
    width: int

    @property
    def num_tokens(self) -> int:
        return self.frames * self.height * self.width


@dataclass(frozen=True)
class Pyramid:
    """Planes of growing size, coarse first (VAR). `scales` are (height, width)."""

    scales: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        return sum(height * width for height, width in self.scales)


@dataclass(frozen=True)
class Gaussians:
    """Tokens that say themselves where they are, through `geometry` (GPSToken)."""

    num_tokens: int


@dataclass(frozen=True)
class Octree:
    """Cells of an octree, their integer coordinates in `geometry`; how many there are depends on the sample."""

    depth: int

    @property
    def num_tokens(self) -> None:
        return None


Layout = Sequence | Grid | Grid3D | Pyramid | Gaussians | Octree


# --- what the parts hand to each other -------------------------------------------------------------------------------


class Features(NamedTuple):
    """Vectors with their place: what an encoder returns and what a decoder reads.

    `latents` (B, L, C); `geometry` (B, L, G) places a token in space; `valid` (B, L) says which tokens count; `extent`
    is the size in pixels to decode to, (H, W) or (T, H, W). None means that the system does not use it.
    """

    latents: Tensor
    layout: Layout
    geometry: Tensor | None = None
    valid: Tensor | None = None
    extent: tuple[int, ...] | None = None
    aux: dict[str, Tensor] = {}


class Posterior(NamedTuple):
    """A diagonal Gaussian: `mean` and `logvar`, both (B, L, C)."""

    mean: Tensor
    logvar: Tensor


class Quantized(NamedTuple):
    """What a quantizer returns. `losses` are unweighted scalars by name; a continuous bottleneck has no indices."""

    codes: Tensor
    indices: Tensor | None
    posterior: Posterior | None
    losses: dict[str, Tensor]


# --- Tokens ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of tokenized samples: exactly one of `indices` and `latents` is set.

    Args:
        layout: how the L tokens of a sample are arranged.
        indices: int64 (B, L) or (B, L, D), 0-based; codes of more than 63 bits are D groups of 8 bits, low bit first.
        latents: float (B, L, C).
        levels: values per slot, one number for (B, L), D numbers for (B, L, D); needed by `bits` and `to_sequence`.
        valid: bool (B, L), which tokens count; None where all do.
        extent: size to decode to in pixels, (H, W) or (T, H, W).
        geometry: (B, L, G), what places a token in space.

    Indexing: `tokens[i]` and `tokens[i:j]` choose samples (the batch dimension stays), `tokens[:, :k]` first tokens.

    Raises:
        ValueError: both or neither of indices and latents, or shapes that do not belong together.
    """

    layout: Layout
    indices: Tensor | None = None
    latents: Tensor | None = None
    levels: tuple[int, ...] | None = None
    valid: Tensor | None = None
    extent: tuple[int, ...] | None = None
    geometry: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.indices is None) == (self.latents is None):
            raise ValueError("Tokens hold either indices or latents: give exactly one of them")
        if self.indices is not None and (self.indices.dtype != torch.int64 or self.indices.ndim not in (2, 3)):
            raise ValueError(
                f"indices must be int64 (B, L) or (B, L, D); got {self.indices.dtype} {tuple(self.indices.shape)}"
            )
        if self.latents is not None and self.latents.ndim != 3:
            raise ValueError(f"latents must be (B, L, C); got {tuple(self.latents.shape)}")
        if self.layout.num_tokens not in (None, self.num_tokens):
            raise ValueError(f"{self.layout} is {self.layout.num_tokens} tokens a sample; got {self.num_tokens}")
        if self.levels is not None and len(self.levels) != self.num_slots:
            raise ValueError(f"levels must name {self.num_slots} slots; got {self.levels}")
        for name, value in (("valid", self.valid), ("geometry", self.geometry)):
            if value is not None and value.shape[:2] != self._values.shape[:2]:
                raise ValueError(
                    f"{name} must begin with (B, L) = {tuple(self._values.shape[:2])}; got {tuple(value.shape)}"
                )

    @property
    def _values(self) -> Tensor:
        return self.indices if self.indices is not None else self.latents  # type: ignore[return-value]

    @property
    def num_tokens(self) -> int:
        """L, tokens per sample, padding included."""
        return int(self._values.shape[1])

    @property
    def num_slots(self) -> int:
        """D, codes per token; 1 for indices (B, L) and for continuous tokens."""
        return int(self.indices.shape[2]) if self.indices is not None and self.indices.ndim == 3 else 1

    @property
    def lengths(self) -> Tensor:
        """Tokens that count, int64 (B,)."""
        if self.valid is None:
            return torch.full((len(self),), self.num_tokens, device=self._values.device)
        return self.valid.sum(1)

    def __len__(self) -> int:
        return len(self._values)

    def to(self, *args: Any, **kwargs: Any) -> "Tokens":
        """Moves every tensor, as `Tensor.to`; a dtype changes floating-point tensors only."""
        moved: dict[str, Tensor] = {}
        for name, value in self._tensors().items():
            target = value.to(*args, **kwargs)
            moved[name] = target if value.is_floating_point() else target.to(value.dtype)
        return replace(self, **moved)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> "Tokens":
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, int):
            rows = slice(rows, rows + 1 or None)
        chosen = {name: value[rows] for name, value in self._tensors().items()}
        if columns == slice(None):
            return replace(self, **chosen)  # type: ignore[arg-type]
        chosen = {name: value[:, columns] for name, value in chosen.items()}
        layout = _slice_layout(self.layout, columns, next(iter(chosen.values())).shape[1])
        return replace(self, layout=layout, **chosen)  # type: ignore[arg-type]

    @staticmethod
    def cat(parts: PySequence["Tokens"]) -> "Tokens":
        """Concatenates along the batch; layouts, extents and levels must be equal."""
        first = parts[0]
        for part in parts[1:]:
            for name in ("layout", "extent", "levels"):
                if getattr(part, name) != getattr(first, name):
                    raise ValueError(
                        f"cannot concatenate Tokens of different {name}: {getattr(first, name)}, {getattr(part, name)}"
                    )
            if part._tensors().keys() != first._tensors().keys():
                raise ValueError("cannot concatenate Tokens of which only some have geometry, valid or latents")
        stacked = {name: torch.cat([getattr(part, name) for part in parts]) for name in first._tensors()}
        return replace(first, **stacked)  # type: ignore[arg-type]

    def bits(self) -> Tensor | None:
        """Payload in bits per sample, int64 (B,): each code at its own fixed width, geometry included.

        None if something stored is continuous. An octree's coordinates cost 3 * depth bits a token.

        Raises:
            ValueError: indices without `levels`.
        """
        if self.indices is None or (self.geometry is not None and self.geometry.is_floating_point()):
            return None
        per_token = sum(bit_width(level) for level in self._known_levels())
        if self.geometry is not None and isinstance(self.layout, Octree):
            per_token += 3 * self.layout.depth
        return self.lengths * per_token

    def to_sequence(self, offset: int = 0, *, pad: int = -1) -> Tensor:
        """Ids (B, L * D) for a language model's vocabulary; tokens that do not count become `pad`.

        Slot d of a token has its own range, so that an id alone says its slot: offset + sum(levels[:d]) + index.
        """
        if self.indices is None:
            raise ValueError("continuous tokens have no ids; quantize them first")
        bases = self.indices.new_tensor(_slot_bases(self._known_levels()))
        ids = self.indices.reshape(len(self), self.num_tokens, -1) + bases + offset
        if self.valid is not None:
            ids = ids.masked_fill(~self.valid.unsqueeze(-1), pad)
        return ids.flatten(1)

    @staticmethod
    def from_sequence(ids: Tensor, spec: "TokenSpec", offset: int = 0, *, pad: int = -1) -> "Tokens":
        """The Tokens of which `to_sequence(offset, pad=pad)` gives `ids` (B, L * D), for the tokenizer of `spec`.

        Raises:
            ValueError: an id outside its slot's range, or a length that is no whole number of tokens.
        """
        if spec.levels is None:
            raise ValueError("this tokenizer's tokens are continuous: they have no ids")
        num_slots = len(spec.levels)
        if ids.ndim != 2 or ids.shape[1] % num_slots:
            raise ValueError(f"ids must be (B, a multiple of {num_slots}); got {tuple(ids.shape)}")
        slots = ids.long().reshape(len(ids), -1, num_slots)
        valid = (slots != pad).all(-1)
        indices = slots - offset - slots.new_tensor(_slot_bases(spec.levels))
        wrong = valid & ((indices < 0) | (indices >= slots.new_tensor(spec.levels))).any(-1)
        if wrong.any():
            raise ValueError(
                f"{int(wrong.sum())} tokens have ids outside their slot's range; is offset={offset} right?"
            )
        indices = indices.masked_fill(~valid.unsqueeze(-1), 0)
        length = indices.shape[1]
        layout = (
            spec.layout
            if spec.layout.num_tokens in (None, length)
            else _slice_layout(spec.layout, slice(length), length)
        )
        return Tokens(
            layout=layout,
            indices=indices.squeeze(-1) if num_slots == 1 else indices,
            levels=spec.levels,
            valid=None if bool(valid.all()) else valid,
        )

    def save(self, path: "str | os.PathLike[str]", **options: Any) -> "Written":
        """Writes a .tkz file. Options: `tokenizer`, `coding`, `labels`, as `tokzoo.token_files.save` says."""
        from tokzoo import token_files

        return token_files.save(self, path, **options)

    @staticmethod
    def load(path: "str | os.PathLike[str]", **options: Any) -> "Tokens":
        """Reads a whole .tkz file. Options: `tokenizer` that will decode it, `any_tokenizer`, `model`.

        Raises:
            FileNotFoundError: no such file.
            TokenFileError: a damaged file, or one of another tokenizer; a ValueError.
        """
        from tokzoo import token_files

        return token_files.load(path, **options)

    def _known_levels(self) -> tuple[int, ...]:
        if self.levels is None:
            raise ValueError("these Tokens do not say their levels; make them with levels=tok.token_spec.levels")
        return self.levels

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def bit_width(level: int) -> int:
    """Bits of a code with `level` values, 0 to level - 1; exact where log2 in floating point is not."""
    return (level - 1).bit_length()


def _slot_bases(levels: PySequence[int]) -> list[int]:
    return [sum(levels[:slot]) for slot in range(len(levels))]


def _slice_layout(layout: Layout, columns: Any, length: int) -> Layout:
    """The layout of the tokens [:, columns], of which there are `length`."""
    prefix = isinstance(columns, slice) and columns.start in (None, 0) and columns.step in (None, 1)
    if isinstance(layout, Sequence | Gaussians):
        return type(layout)(length)
    if isinstance(layout, Octree):
        return layout
    if isinstance(layout, Pyramid) and prefix:
        for count in range(len(layout.scales), 0, -1):
            if Pyramid(layout.scales[:count]).num_tokens == length:
                return Pyramid(layout.scales[:count])
    raise ValueError(
        f"[:, {columns}] of {layout} is not a layout: only sequences, and whole scales of a pyramid, can be cut"
    )


# --- what a generator needs to know ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TokenSpec:
    """What a tokenizer says of its tokens to a generator.

    Args:
        layout: of a full-length sample.
        levels: values per slot, or None if tokens are continuous.
        channels: width of the vectors that the decoder reads.
        lengths: least and greatest number of tokens that decode.
        ordered: whether any prefix between them decodes.
        scale, shift: continuous tokens are modelled as (latents - shift) * scale.
    """

    layout: Layout
    levels: tuple[int, ...] | None
    channels: int
    lengths: tuple[int, int]
    ordered: bool = False
    scale: float = 1.0
    shift: float = 0.0

    @property
    def bits_per_token(self) -> float | None:
        """Information in one token, sum of log2(levels); None if continuous."""
        return None if self.levels is None else sum(math.log2(level) for level in self.levels)
