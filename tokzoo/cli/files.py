"""The commands around token files."""

from pathlib import Path
from typing import Any, Literal

from tokzoo.cli.commands import DEFAULT, _paths


def encode(
    photos: list[str],
    model: str = DEFAULT,
    out: str = "photos.tkz",
    coding: Literal["plain", "static", "adaptive"] = "plain",
    latents: Literal["float32", "float16"] = "float32",
    append: bool = False,
    device: str = "cpu",
) -> None:
    """Write photos as tokens into one file (.tkz); print its payload and its size.

    Args:
        photos: image files or folders.
        model: a registered name, hub repository or folder.
        out: file to write.
        coding: plain codes at their exact width, or entropy coded by a static table or by what came before.
        latents: precision of continuous tokens.
        append: add to the file, which keeps its coding and precision.
        device: torch device.
    """
    import torch

    from tokzoo import archives, hub

    tok, paths, file = hub.from_pretrained(model, device=device), _paths(photos), Path(out)
    if append:
        written = archives.append_photos(tok, paths, file)
    else:
        written = archives.encode_photos(tok, paths, file, coding=coding, latents=getattr(torch, latents))
    bits = written.payload_bits
    print(f"payload {bits} bits ({bits / 8:g} bytes): {written.items} photos, {bits / written.items:.6g} bits each")
    print(f"file    {written.file_bytes} bytes: {file}, with header, index and names")


def decode(
    file: str, out: str = "decoded", model: str | None = None, any_tokenizer: bool = False, device: str = "cpu"
) -> None:
    """Decode a token file (.tkz) into PNGs.

    Args:
        file: what `tokzoo encode` wrote.
        out: folder to write to.
        model: a registered name, hub repository or folder; by default the registered one that the file names.
        any_tokenizer: decode even what another tokenizer, or other weights, made.
        device: torch device.
    """
    from tokzoo import archives, hub

    tok = hub.from_pretrained(model or archives.tokenizer_of(Path(file)), device=device)
    written = archives.decode_photos(tok, Path(file), Path(out), any_tokenizer=any_tokenizer)
    print(f"{len(written)} pictures in {out}")


def tokenize(
    photos: str,
    tokenizer: str = DEFAULT,
    out: str = "tokens",
    where: list[str] | None = None,
    label_column: str = "label",
    variants: int = 8,
    held_out: float = 0.05,
    num_tokens: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Encode a labelled set of photos once, in several crops, to train a generator from: tokzoo train --data OUT.

    Args:
        photos: folder, zip or tars of photos; labels are a manifest's, or the names of folders.
        tokenizer: a registered name, hub repository or folder.
        out: folder to write to; shards that are there stay.
        where: take only rows of the manifest with one of these values in a column: COLUMN=VALUE|VALUE.
        label_column: of the manifest.
        variants: of each photo: its centre square, its mirror, then random crops.
        held_out: share of each class to score on.
        num_tokens: regions that a GPSToken cuts each photo into; by default as its config has it.
        seed: decides what is held out and how photos are cropped.
        device: torch device.
    """
    from tokzoo import hub
    from tokzoo.data.readers import ImageFolder
    from tokzoo.data.tokens import tokenize as write

    tok = hub.from_pretrained(tokenizer, device=device)
    listed = ImageFolder(photos, where=_columns(where or []), label_column=label_column)
    options: dict[str, Any] = dict(variants=variants, held_out=held_out, seed=seed, num_tokens=num_tokens)
    written = write(tok, listed, Path(out), **options)
    classes = len(set(listed.labels or []))
    print(f"{len(listed)} photos of {classes} classes in {variants} variants: {len(written)} files in {out}")


def layouts(
    photos: str,
    tokenizer: str = "gpstoken_m128",
    out: str = "layouts.safetensors",
    where: list[str] | None = None,
    label_column: str = "label",
    num_tokens: int | None = None,
    per_class: int = 100,
    seed: int = 0,
) -> None:
    """Cut labelled photos into the regions of a GPSToken, for a generator to draw its layouts from.

    Args:
        photos: folder, zip or tars of photos; labels are a manifest's, or the names of folders.
        tokenizer: a registered name: its sizes decide, its weights are not needed.
        out: safetensors file to write.
        where: take only rows of the manifest with one of these values in a column: COLUMN=VALUE|VALUE.
        label_column: of the manifest.
        num_tokens: regions of each photo; by default as the tokenizer's config has it.
        per_class: photos of each class, at most.
        seed: decides which.
    """
    from tokzoo.data.layouts import layouts_of
    from tokzoo.data.readers import ImageFolder

    listed = ImageFolder(photos, where=_columns(where or []), label_column=label_column)
    bank = layouts_of(listed, tokenizer, num_tokens=num_tokens, per_class=per_class, seed=seed)
    count = sum(len(each) for each in bank.layouts.values())
    print(f"{count} layouts of {len(bank.layouts)} classes in {bank.save(Path(out))}")


def _columns(conditions: list[str]) -> dict[str, list[str]]:
    """COLUMN=VALUE|VALUE ... -> the values of each column."""
    for condition in conditions:
        if "=" not in condition:
            raise ValueError(f"--where takes COLUMN=VALUE|VALUE; got {condition!r}")
    pairs = [condition.split("=", 1) for condition in conditions]
    return {column: values.split("|") for column, values in pairs}
