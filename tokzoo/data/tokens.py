"""A labelled set of photos as tokens: encoded once, to train generators from.

A folder holds `held_out.tkz` and shards `train-000.tkz` ...: each shard is one variant of all photos to learn from, in
the same order, labelled with their classes; the first is their centre squares, others are crops and mirrored.

V variants, N photos, L tokens, B batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tokzoo import token_files
from tokzoo.data.batches import Chosen, TrainingImages, evaluation_images, shown, to_images
from tokzoo.data.readers import ImageFolder
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

HELD_OUT, SHARD = "held_out.tkz", "train-{:03}.tkz"


def tokenize(
    tok: VisualTokenizer,
    photos: ImageFolder,
    folder: Path,
    *,
    variants: int = 8,
    held_out: float = 0.05,
    seed: int = 0,
    batch_size: int = 64,
) -> list[Path]:
    """Writes the shards that are not there yet; returns all files.

    Args:
        tok: with discrete tokens.
        photos: with labels.
        folder: to write to.
        variants: V; the first is the centre square, the second its mirror, others crops as training of tokenizers
            makes them, half of them mirrored.
        held_out: share of the photos of every class to score on.
        seed: decides what is held out, and the crops.
        batch_size: photos at once.

    Raises:
        ValueError: photos without labels, continuous tokens, no variant, or a share that leaves no photo.
    """
    if photos.labels is None:
        raise ValueError(f"{photos.path} has no labels: they are a manifest's, or the names of folders")
    if tok.token_spec.levels is None:
        raise ValueError("this tokenizer's tokens are continuous; generators of discrete tokens cannot learn them")
    if variants < 1 or not 0 < held_out < 1:
        raise ValueError(f"variants must be at least 1, held_out between 0 and 1; got {variants} and {held_out}")
    learned, kept = split(photos.labels, held_out, seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / HELD_OUT, *(folder / SHARD.format(number) for number in range(variants))]
    scored, source = Chosen(photos, kept), Chosen(photos, learned)
    views = Views(source, tok.image_size, seed=seed, batch_size=batch_size)
    for number, file in enumerate(tqdm(names, desc="encoding", unit="shard")):
        if file.is_file():
            continue
        if number == 0:
            _write(tok, _parts(evaluation_images(scored, tok.image_size), batch_size), scored, file)
        else:
            _write(tok, views.of(number - 1), source, file)
    return names


class Views:
    """Variants of photos, in their order, in batches (B, 3, S, S): 0 centre squares, 1 mirrored, then crops."""

    def __init__(self, photos: Chosen, image_size: int, *, seed: int, batch_size: int):
        self.photos, self.image_size, self.seed, self.batch_size = photos, image_size, seed, batch_size

    def of(self, variant: int) -> Iterator[Tensor]:
        """All photos in variant number `variant`."""
        if variant < 2:
            squares = evaluation_images(self.photos, self.image_size)
            yield from _parts(squares if variant == 0 else squares.flip(-1), self.batch_size)
            return
        for start in range(0, len(self.photos), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(self.photos)))
            crops = self._zoomed.crops(rows, np.random.default_rng((self.seed, variant, start)))
            yield to_images(crops, self.image_size)

    @cached_property
    def _zoomed(self) -> TrainingImages:
        return TrainingImages(self.photos, self.image_size)


def split(labels: list[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to learn from and to hold out, `share` of every class and one of it at least, drawn from `seed`."""
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    kept: list[int] = []
    for name in sorted(set(labels)):
        of_class = [index for index in order if labels[index] == name]
        if len(of_class) < 2:
            raise ValueError(f"the class {name!r} has one photo: training needs another to hold out")
        kept += of_class[: max(1, round(share * len(of_class)))]
    chosen = set(kept)
    return [index for index in range(len(labels)) if index not in chosen], sorted(kept)


def _parts(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    for part in images.split(batch_size):
        yield part.float() / 255


@torch.no_grad()
def _write(tok: VisualTokenizer, images: Iterator[Tensor], photos: Chosen, file: Path) -> None:
    assert photos.labels is not None
    parts = [tok.encode(batch.to(tok.device)).to("cpu") for batch in images]
    names = [token_files.safe_label(label) for label in photos.labels]
    token_files.save(token_files.cat(parts), file, tokenizer=tok, labels=names)


@dataclass(frozen=True)
class CachedTokens:
    """Tokens of a labelled set in memory.

    Attributes:
        indices: of the photos to learn from, (V, N, L) or (V, N, L, D).
        labels: their classes, int64 (N,), as numbers in `classes`.
        like: tokens without samples, of which batches have layout, levels and extent.
        held_out, held_out_labels: what to score on.
        classes: names, in the order of the photos.
    """

    indices: Tensor
    labels: Tensor
    like: Tokens
    held_out: Tokens
    held_out_labels: Tensor
    classes: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, tok: VisualTokenizer) -> "CachedTokens":
        """Of a folder that `tokenize` wrote with the same tokenizer.

        Raises:
            FileNotFoundError: no such files there.
            ValueError: tokens of another tokenizer, or shards of unlike photos.
        """
        files = sorted(folder.glob(SHARD.format(0).replace("000", "*")))
        if not files or not (folder / HELD_OUT).is_file():
            raise FileNotFoundError(f"{folder} holds no tokens; tokzoo tokenize PHOTOS --out {folder} writes them")
        tokens, names = zip(*(_read(file, tok) for file in files), strict=True)
        if any(other != names[0] for other in names[1:]):
            raise ValueError(f"the shards of {folder} are of unlike photos; write them again into an empty folder")
        held_out, held_out_names = _read(folder / HELD_OUT, tok)
        classes = tuple(dict.fromkeys(names[0]))
        return cls(
            indices=torch.stack([part.indices for part in tokens]),
            labels=torch.tensor([classes.index(name) for name in names[0]]),
            like=tokens[0][:0],
            held_out=held_out,
            held_out_labels=torch.tensor([classes.index(name) for name in held_out_names]),
            classes=classes,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, step: int, *, seed: int, batch_size: int) -> tuple[Tokens, Tensor]:
        """Tokens and labels (B,) of one step, each photo in a variant drawn from (seed, step)."""
        rows = torch.tensor(shown(len(self), step, seed=seed, batch_size=batch_size))
        drawn = np.random.default_rng((seed, step, 2)).integers(len(self.indices), size=batch_size)
        return replace(self.like, indices=self.indices[torch.from_numpy(drawn), rows]), self.labels[rows]


def classes_of(folder: Path) -> tuple[str, ...]:
    """Names of the classes in a folder that `tokenize` wrote, in their order."""
    file = folder / SHARD.format(0)
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no tokens; tokzoo tokenize PHOTOS --out {folder} writes them")
    with token_files.TokenFile(file) as opened:
        return tuple(dict.fromkeys(str(label) for label in opened.labels()))


def _read(file: Path, tok: VisualTokenizer) -> tuple[Tokens, list[str]]:
    with token_files.TokenFile(file) as opened:
        opened.check(tok)
        return opened[:], [str(label) for label in opened.labels()]
