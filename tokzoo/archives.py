"""Photos into token files and back."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from tokzoo import images as photos
from tokzoo import registry, token_files
from tokzoo._files import replace_atomically
from tokzoo.conditions.contract import check_computable
from tokzoo.token_files import TokenFile, TokenFileError, Written
from tokzoo.token_files.reading import Model
from tokzoo.token_files.writing import Coding
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

BATCH = 16


@torch.no_grad()
def encode_photos(
    tok: VisualTokenizer,
    paths: Sequence[Path],
    out: Path,
    *,
    coding: Coding = "plain",
    latents: torch.dtype = torch.float32,
) -> Written:
    """Writes photos as tokens into a .tkz file, each labelled with its file's name. A file that is there is replaced.

    Args:
        coding: of indices; see `token_files.save`.
        latents: dtype of continuous tokens.

    Raises:
        ValueError: no paths, or a photo that cannot be read.
    """
    tokens = token_files.cat(list(_encode(tok, paths, latents)))
    return token_files.save(tokens, out, tokenizer=tok, coding=coding, labels=_labels(paths))


@torch.no_grad()
def append_photos(tok: VisualTokenizer, paths: Sequence[Path], out: Path, *, model: Model | None = None) -> Written:
    """Adds photos to a .tkz file, a batch at a time. After a crash it holds the batches that were finished.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no paths, a photo that cannot be read, or (TokenFileError) a file of another tokenizer.
    """
    identity = token_files.identify(tok)
    with TokenFile(out, model=model) as file:
        file.check(identity)
        spec = file.description.latents
    dtype = torch.float32 if spec is None else spec.torch_dtype
    bits, start = 0, 0
    for tokens in _encode(tok, paths, dtype):
        labels = _labels(paths[start : start + len(tokens)])
        written = token_files.append(tokens, out, tokenizer=identity, labels=labels, model=model)
        bits, start = bits + written.payload_bits, start + len(tokens)
    return Written(len(paths), bits, written.file_bytes)


@torch.no_grad()
def decode_photos(
    tok: VisualTokenizer, path: Path, folder: Path, *, any_tokenizer: bool = False, model: Model | None = None
) -> list[Path]:
    """Decodes a .tkz file into PNGs, named after labels, or numbered where there are none; returns their paths.

    Args:
        any_tokenizer: decode even what another tokenizer, or other weights, made.
        model: frequencies or generator, where the file's coding needs it.

    Raises:
        FileNotFoundError: no such file.
        TokenFileError: a damaged file, or one of another tokenizer; the message names both.
    """
    written: list[Path] = []
    taken: set[str] = set()
    with TokenFile(path, model=model) as file:
        if not any_tokenizer:
            file.check(tok)
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(file), BATCH):
            batch = slice(start, start + BATCH)
            decoded = tok.decode(file[batch].to(tok.device)).cpu()
            for index, (image, label) in enumerate(zip(decoded, file.labels(batch), strict=True), start):
                name = _unused(label or f"{index:06}", taken)
                written.append(folder / f"{name}.png")
                with replace_atomically(written[-1]) as temporary:
                    photos.to_image(image).save(temporary, format="PNG")
    return written


def tokenizer_of(path: Path) -> str:
    """The registered name of the tokenizer that made a .tkz file.

    Raises:
        TokenFileError: a file that names none, or one that is not registered: a file may not choose what is loaded.
    """
    with TokenFile(path) as file:
        name = file.tokenizer and file.tokenizer.name
    known = {*registry.list_models(), *registry.list_models(pretrained=True)}
    if name not in known:
        raise TokenFileError(f"{path} is of {name or 'an unnamed tokenizer'}, which is not registered; say its model")
    return str(name)


def _encode(tok: VisualTokenizer, paths: Sequence[Path], latents: torch.dtype) -> Iterator[Tokens]:
    """A batch at a time, on the CPU."""
    if not paths:
        raise ValueError("there are no photos to encode")
    check_computable(tok.conditions)
    for start in range(0, len(paths), BATCH):
        yield tok.encode(tok.preprocess(paths[start : start + BATCH])).to("cpu", latents)


def _labels(paths: Sequence[Path]) -> list[str]:
    return [token_files.safe_label(path.stem) for path in paths]


def _unused(name: str, taken: set[str]) -> str:
    """`name`, or `name-2` and on where a photo had it before; case does not tell files apart everywhere."""
    count, tried = 1, name
    while tried.casefold() in taken:
        count += 1
        tried = f"{name}-{count}"
    taken.add(tried.casefold())
    return tried
