"""Tokens of every kind, and the files that the tests damage."""

import io
from collections.abc import Sequence as PySequence
from pathlib import Path

import torch
from hypothesis import strategies as st

from tokzoo.token_files import TokenFile, TokenizerId, save
from tokzoo.tokens import Gaussians, Grid, Grid3D, Layout, Octree, Pyramid, Sequence, Tokens

NANO = TokenizerId("titok_nano.photos64", {"encoder": "0" * 32, "quantizer": "1" * 32, "decoder": "2" * 32})
OTHER = TokenizerId("titok_nano.photos64", {"encoder": "0" * 32, "quantizer": "1" * 32, "decoder": "3" * 32})

LAYOUTS: PySequence[Layout] = (
    Sequence(5),
    Sequence(0),
    Grid(2, 3),
    Grid3D(2, 1, 3),
    Pyramid(((1, 1), (2, 2))),
    Gaussians(4),
    Octree(7),
)


def row(count: int = 3, length: int = 8, levels: int = 1000, seed: int = 0) -> Tokens:
    """Plain tokens in a row."""
    indices = torch.randint(levels, (count, length), generator=torch.Generator().manual_seed(seed))
    return Tokens(layout=Sequence(length), indices=indices, levels=(levels,), extent=(64, 64))


def same(one: Tokens, other: Tokens) -> bool:
    """Whether two Tokens say the same: all that counts is equal bit by bit, whatever stands where `valid` is not."""
    facts = ("layout", "levels", "extent")
    if any(getattr(one, name) != getattr(other, name) for name in facts) or len(one) != len(other):
        return False
    if not len(one):  # no samples have neither mask nor length
        return True
    ones, others = one._tensors(), other._tensors()
    chosen = torch.ones(len(one), one.num_tokens, dtype=torch.bool) if one.valid is None else one.valid
    return (
        ones.keys() == others.keys()
        and one.num_tokens == other.num_tokens
        and all(
            ones[name].dtype == others[name].dtype and torch.equal(ones[name][chosen], others[name][chosen])
            for name in ones
        )
    )


def opened(data: bytes, **options: object) -> TokenFile:
    """A file of these bytes, which lies in memory."""
    return TokenFile(io.BytesIO(data), **options)


def written(tokens: Tokens, folder: Path, **options: object) -> bytes:
    """The bytes of these tokens' file."""
    save(tokens, folder / "file.tkz", **options)
    return (folder / "file.tkz").read_bytes()


@st.composite
def any_tokens(draw: st.DrawFn, *, discrete: bool | None = None, biggest_level: int = 1 << 63) -> Tokens:
    """Tokens of any layout, levels, dtype, mask and geometry, up to four samples."""
    layout = draw(st.sampled_from(LAYOUTS))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 32)))
    count = draw(st.integers(0, 4))
    length = draw(st.integers(0, 6)) if layout.num_tokens is None else layout.num_tokens
    indices = latents = levels = geometry = valid = None
    if draw(st.booleans()) if discrete is None else discrete:
        level = st.one_of(st.integers(1, 40), st.sampled_from([256, 1000, 4096, 1 << 16, (1 << 18) + 1, 1 << 63]))
        levels = tuple(draw(st.lists(level.filter(lambda k: k <= biggest_level), min_size=1, max_size=4)))
        slots = [torch.randint(min(level, (1 << 63) - 1), (count, length), generator=generator) for level in levels]
        indices = slots[0] if len(slots) == 1 and draw(st.booleans()) else torch.stack(slots, dim=-1)
    else:
        dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
        latents = torch.randn(count, length, draw(st.integers(0, 3)), generator=generator).to(dtype)
    if isinstance(layout, Octree):
        geometry = torch.randint(1 << layout.depth, (count, length, 3), generator=generator).to(
            draw(st.sampled_from([torch.uint8, torch.int16, torch.int64]))
        )
    if isinstance(layout, Gaussians):
        geometry = torch.randn(count, length, 5, generator=generator)
    if draw(st.booleans()):
        valid = torch.rand(count, length, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    if valid is not None and draw(st.booleans()):
        valid = valid.sort(dim=1, descending=True).values  # a prefix
    return Tokens(
        layout=layout,
        indices=indices,
        latents=latents,
        levels=levels,
        valid=valid,
        geometry=geometry,
        extent=draw(st.sampled_from([None, (64, 64), (5, 64, 48)])),
    )
