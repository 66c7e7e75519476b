"""The page of all results: a table for each protocol, never two protocols in one column, and plots beside it."""

import re
from collections.abc import Sequence
from pathlib import Path

from tokzoo._files import write_atomically
from tokzoo.evaluation.protocol import Protocol, list_protocols, load_protocol
from tokzoo.evaluation.results import Result, check_comparable, compared_images, read_results
from tokzoo.evaluation.summary import Score
from tokzoo.metrics.rate_distortion import ARCHIVE, Codec, RatePoint

__all__ = ["render", "write_leaderboard"]

CODECS: dict[str, Codec] = {"jpeg": "JPEG", "webp": "WebP"}
KINDS = ("tokenizer", "samples", "codec", "sanity")
DIGITS = {
    "psnr": 2,
    "tokens_per_image": 0,
    "code_usage": 3,
    "code_perplexity": 0,
    "bits_per_pixel": 3,
    "bits_per_image": 0,
    "file_bits_per_image": 0,
}
WHOLE = ("fd", "pfd")  # scores that may be large numbers
HIDDEN = ("code_entropy_bits", "density", "bits_per_pixel")
INTRODUCTION = """# Leaderboard

Written by `tokzoo leaderboard` from `eval/results`, which `tokzoo eval NAME --data ... --protocol ...` writes. A table
holds one protocol, told by the first digits of its hash: numbers of different tables are not comparable. A score is
named after the network whose features it compares; only a distance of Inception's is an FID. Less is better of
`perceptual`, `fd` and `kid`, more is better of the others; small figures are 95 % bootstrap intervals. `identity`,
`mean_image` (each photo's mean colour) and `noise` say between which ends a score lies.
"""
HEADINGS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "tokens_per_image": "tokens",
    "bits_per_image": "bits",
    "file_bits_per_image": "bits as a file",
    "code_usage": "codes used",
    "code_perplexity": "perplexity of codes",
}
OF_CODECS = f"- JPEG and WebP: bits where {ARCHIVE} images share their headers, and as a file with headers of its own."


def write_leaderboard(results: Path, page: Path) -> Path:
    """Writes the page and its plots.

    Raises:
        ValueError: no results.
    """
    found = read_results(results)
    if not found:
        raise ValueError(f"no results below {results}; tokzoo eval writes them")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, render(found, page.parent))
    return page


def render(results: Sequence[Result], plots: Path | None = None) -> str:
    """The page as markdown; plots are written into the folder `plots`, if one is given."""
    protocols = {protocol.name: protocol for protocol in map(load_protocol, list_protocols())}
    names = sorted({result.protocol for result in results})
    sections = [INTRODUCTION, *(f"- [{name}](#{name})" for name in names), ""]
    for name in names:
        group = [result for result in results if result.protocol == name]
        sections.append(_section(name, group, protocols.get(name), plots))
    return "\n".join(sections)


def _section(name: str, group: list[Result], protocol: Protocol | None, plots: Path | None) -> str:
    kept: list[Result] = []
    left_out: list[str] = []
    for result in group:
        try:
            check_comparable([*kept[:1], result], protocol)
        except ValueError as error:
            left_out.append(f"- {error}")
        else:
            kept.append(result)
    lines = [f"## {name}", ""]
    if protocol is not None:
        lines += [f"{_sentence(protocol)} Hash `{protocol.sha256[:12]}`.", ""]
    if kept:
        lines += _table(sorted(kept, key=_place))
        lines += ["", *_foot(kept)]
        if plots is not None:
            lines += _plots(name, kept, plots)
    if left_out:
        lines += ["", "Not in the table:", "", *left_out]
    return "\n".join(lines) + "\n"


def _sentence(protocol: Protocol) -> str:
    images = protocol.images
    count = f"{images.count:,} images" if images.count else "the images"
    part = f" `{images.split}`" if images.split else ""
    network = protocol.extractor
    seen = f" Features of {network.name} ({_settings(network.settings)})." if network else ""
    about = f"{protocol.about[:1].upper()}{protocol.about[1:]}"
    return (
        f"{about}: {count} of {images.set}{part}, {protocol.image_size} pixels, "
        f"crop {protocol.crop}, rounding {protocol.rounding}.{seen}"
    )


def _settings(settings: object) -> str:
    return ", ".join(f"{key} {value}" for key, value in dict(settings).items()) or "as published"  # type: ignore[call-overload]


def _table(results: Sequence[Result]) -> list[str]:
    columns = [name for name in _columns(results) if not name.startswith(HIDDEN)]
    lines = ["| | " + " | ".join(_heading(name) for name in columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for result in results:
        cells = [_cell(name, result.scores.get(name)) for name in columns]
        lines.append(f"| {result.subject} | " + " | ".join(cells) + " |")
    return lines


def _place(result: Result) -> tuple[int, list[tuple[int, str]]]:
    """Kinds in their order, then names with their numbers by size."""
    parts = re.split(r"(\d+)", result.subject)
    return KINDS.index(result.kind), [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _columns(results: Sequence[Result]) -> list[str]:
    """Every score that some result has, in the order of the fullest one."""
    fullest = max(results, key=lambda result: len(result.scores))
    names = dict.fromkeys(fullest.scores)
    for result in results:
        names |= dict.fromkeys(result.scores)
    return list(names)


def _heading(name: str) -> str:
    """The network below the metric: columns are then as narrow as their numbers."""
    return HEADINGS.get(name, name.replace("_infinity", " at infinity").replace("_", "<br>", 1))


def _cell(name: str, score: Score | None) -> str:
    if score is None:
        return ""
    digits = DIGITS.get(name, 0 if name.startswith(WHOLE) and score.value >= 100 else 1 if name.startswith("fd") else 3)
    text = f"{score.value:,.{digits}f}"
    if score.low is None or score.high is None:
        return text
    return f"{text}<br><sub>{score.low:,.{digits}f}&nbsp;to&nbsp;{score.high:,.{digits}f}</sub>"


def _foot(results: Sequence[Result]) -> list[str]:
    notes = sorted({note for result in results for note in result.notes})
    lines = [f"- {note}." for note in notes]
    if any(result.kind == "codec" for result in results):
        lines.append(OF_CODECS)
    for result in results:
        if result.weights:
            hashes = ", ".join(f"{part} `{digest[:8]}`" for part, digest in result.weights.items())
            lines.append(f"- {result.subject}, measured {result.date}, has weights {hashes}.")
    return [*lines, f"- pixels of the cropped images: sha256 `{compared_images(results[0])[:16]}`."]


def _plots(name: str, results: Sequence[Result], folder: Path) -> list[str]:
    """Lines that show the plots, which are written beside the page."""
    lines = []
    if (file := _rate_distortion(name, results, folder)) is not None:
        lines += ["", f"![PSNR over bytes]({file.name})"]
    if (file := _distance_over_tokens(name, results, folder)) is not None:
        lines += ["", f"![Distance over tokens]({file.name})"]
    return lines


def _distance_over_tokens(name: str, results: Sequence[Result], folder: Path) -> Path | None:
    """The Frechet distance of tokenizers over their tokens, where it was measured of two at least."""
    from tokzoo.plots import distance_over_tokens

    places = {}
    label = ""
    for result in results:
        distances = [key for key in result.scores if key.startswith(("fd_", "pfd_")) and "infinity" not in key]
        if result.kind == "tokenizer" and distances and "tokens_per_image" in result.scores:
            label = distances[0]
            places[result.subject] = (result.scores["tokens_per_image"].value, result.scores[label].value)
    return distance_over_tokens(places, label, folder / f"{name}_{label}.png") if len(places) > 1 else None


def _rate_distortion(name: str, results: Sequence[Result], folder: Path) -> Path | None:
    """PSNR over bytes: tokenizers as points, codecs as curves over their qualities. None where one of them lacks."""
    from tokzoo.plots import rate_distortion

    tokenizers: dict[str, list[RatePoint]] = {}
    codecs: dict[Codec, list[RatePoint]] = {}
    for result in results:
        point = _point(result)
        if point is None or result.kind not in ("tokenizer", "codec"):
            continue
        if result.kind == "codec":
            codecs.setdefault(CODECS[result.subject.partition("_")[0]], []).append(point)
        else:
            tokenizers[result.subject] = [point]
    if not tokenizers or not codecs:
        return None
    curves = {codec: sorted(points, key=lambda point: point.setting) for codec, points in codecs.items()}
    return rate_distortion(tokenizers, curves, folder / f"{name}.png")


def _point(result: Result) -> RatePoint | None:
    if "bits_per_image" not in result.scores or "psnr" not in result.scores:
        return None
    shared = result.scores["bits_per_image"].value / 8
    files = result.scores.get("file_bits_per_image")
    quality = result.subject.rpartition("_q")[2]
    return RatePoint(
        setting=int(quality) if quality.isdigit() else 0,
        file_bytes=files.value / 8 if files else shared,
        archive_bytes=shared,
        psnr=result.scores["psnr"].value,
    )
