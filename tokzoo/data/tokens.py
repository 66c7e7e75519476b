"""A labelled set of photos as tokens: encoded once, to train generators from.

A folder holds `held_out.tkz` and shards `train-000.tkz` ...: each shard is one variant of all photos to learn from, in
the same order, labelled with their classes; the first is their centre squares, others are crops and mirrored. Where
the tokenizer prepares something before it encodes, such as regions, `train-000.safetensors` beside it holds that.

V variants, N photos, L tokens, B batch.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from tokzoo import token_files
from tokzoo._files import replace_atomically
from tokzoo.data.batches import Chosen, TrainingImages, evaluation_images, shown, to_images
from tokzoo.data.readers import ImageFolder
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

HELD_OUT, SHARD, PREPARED = "held_out.tkz", "train-{:03}.tkz", ".safetensors"


def tokenize(
    tok: VisualTokenizer,
    photos: ImageFolder,
    folder: Path,
    *,
    variants: int = 8,
    held_out: float = 0.05,
    seed: int = 0,
    batch_size: int = 64,
    num_tokens: int | None = None,
) -> list[Path]:
    """Writes the shards that are not there yet; returns all files of tokens.

    Args:
        tok: with its weights.
        photos: with labels.
        folder: to write to.
        variants: V; the first is the centre square, the second its mirror, others crops as training of tokenizers
            makes them, half of them mirrored.
        held_out: share of the photos of every class to score on.
        seed: decides what is held out, and the crops.
        batch_size: photos at once.
        num_tokens: of each photo, where the tokenizer cuts it into as many regions as it is told to.

    Raises:
        ValueError: photos without labels, no variant, a share that leaves no photo, or a number of tokens that the
            tokenizer does not take.
    """
    if photos.labels is None:
        raise ValueError(f"{photos.path} has no labels: they are a manifest's, or the names of folders")
    if num_tokens is not None and "num_tokens" not in inspect.signature(tok.prepare).parameters:
        raise ValueError(f"a {type(tok).__name__} cuts no photo into regions: it takes no num_tokens={num_tokens}")
    if variants < 1 or not 0 < held_out < 1:
        raise ValueError(f"variants must be at least 1, held_out between 0 and 1; got {variants} and {held_out}")
    learned, kept = split(photos.labels, held_out, seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / HELD_OUT, *(folder / SHARD.format(number) for number in range(variants))]
    scored, source = Chosen(photos, kept), Chosen(photos, learned)
    options: dict[str, Any] = {} if num_tokens is None else {"num_tokens": num_tokens}
    views = Views(source, tok.image_size, seed=seed, batch_size=batch_size)
    for number, file in enumerate(tqdm(names, desc="encoding", unit="shard")):
        if file.is_file():
            continue
        if number == 0:
            _write(tok, _parts(evaluation_images(scored, tok.image_size), batch_size), scored, file, options)
        else:
            _write(tok, views.of(number - 1), source, file, options)
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
def _write(tok: VisualTokenizer, images: Iterator[Tensor], photos: Chosen, file: Path, options: dict[str, Any]) -> None:
    assert photos.labels is not None
    parts, beside = [], []
    for batch in images:
        batch = batch.to(tok.device)
        prepared: dict[str, Any] = tok.prepare(batch, **options)
        parts.append(tok.encode(batch, **prepared).to("cpu"))
        beside.append({name: value.cpu() for name, value in prepared.items()})
    if beside[0]:
        with replace_atomically(file.with_suffix(PREPARED)) as temporary:  # first, as the tokens say that all is there
            save_file({name: torch.cat([part[name] for part in beside]) for name in beside[0]}, temporary)
    names = [token_files.safe_label(label) for label in photos.labels]
    token_files.save(token_files.cat(parts), file, tokenizer=tok, labels=names)


class Shard(NamedTuple):
    """Tokens of labelled photos, and by name what the tokenizer prepared of them, (B, ...) each.

    `labels` int64 (B,) are numbers of classes.
    """

    tokens: Tokens
    labels: Tensor
    prepared: dict[str, Tensor]

    def rows(self, chosen: slice | Tensor) -> "Shard":
        """Some of the photos."""
        prepared = {name: value[chosen] for name, value in self.prepared.items()}
        return Shard(self.tokens[chosen], self.labels[chosen], prepared)

    def to(self, device: torch.device) -> "Shard":
        """Moves every tensor."""
        prepared = {name: value.to(device) for name, value in self.prepared.items()}
        return Shard(self.tokens.to(device), self.labels.to(device), prepared)


@dataclass(frozen=True)
class CachedTokens:
    """Tokens of a labelled set in memory.

    Attributes:
        learned: the photos to learn from, V * N, one variant of all after the other.
        variants: V.
        held_out: what to score on.
        classes: names, in the order of the photos.
    """

    learned: Shard
    variants: int
    held_out: Shard
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
        classes = classes_of(folder)
        shards, held_out = [_read(file, tok, classes) for file in files], _read(folder / HELD_OUT, tok, classes)
        unlike = any(not torch.equal(other.labels, shards[0].labels) for other in shards[1:])
        if unlike or bool((held_out.labels < 0).any()):
            raise ValueError(f"the shards of {folder} are of unlike photos; write them again into an empty folder")
        learned = Shard(
            Tokens.cat([shard.tokens for shard in shards]),
            torch.cat([shard.labels for shard in shards]),
            {name: torch.cat([shard.prepared[name] for shard in shards]) for name in shards[0].prepared},
        )
        return cls(learned=learned, variants=len(files), held_out=held_out, classes=classes)

    def __len__(self) -> int:
        return len(self.learned.labels) // self.variants

    def batch(self, step: int, *, seed: int, batch_size: int) -> Shard:
        """What one step learns from, each photo in a variant drawn from (seed, step)."""
        rows = torch.tensor(shown(len(self), step, seed=seed, batch_size=batch_size))
        drawn = np.random.default_rng((seed, step, 2)).integers(self.variants, size=batch_size)
        return self.learned.rows(torch.from_numpy(drawn) * len(self) + rows)


def first_shard(folder: Path, tok: VisualTokenizer) -> Shard:
    """The centre squares to learn from, in a folder that `tokenize` wrote with the same tokenizer."""
    return _read(folder / SHARD.format(0), tok, classes_of(folder))


def classes_of(folder: Path) -> tuple[str, ...]:
    """Names of the classes in a folder that `tokenize` wrote, in their order."""
    file = folder / SHARD.format(0)
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no tokens; tokzoo tokenize PHOTOS --out {folder} writes them")
    with token_files.TokenFile(file) as opened:
        return tuple(dict.fromkeys(str(label) for label in opened.labels()))


def _read(file: Path, tok: VisualTokenizer, classes: tuple[str, ...]) -> Shard:
    """A file of tokens and what lies beside it; labels that are no class are -1."""
    numbers = {name: number for number, name in enumerate(classes)}
    with token_files.TokenFile(file) as opened:
        opened.check(tok)
        labels = torch.tensor([numbers.get(str(label), -1) for label in opened.labels()])
        tokens = opened[:]
    beside = file.with_suffix(PREPARED)
    return Shard(tokens, labels, load_file(beside) if beside.is_file() else {})
