"""Plots of measured curves, drawn with matplotlib (extras `demo` and `eval`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokzoo._files import replace_atomically
from tokzoo.metrics.rate_distortion import ARCHIVE, Codec, RatePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1d4fb8", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#a16207")
MARKERS = ("o", "s", "^", "D", "v", "P")  # hollow: what lies on one spot is seen through
CODEC_COLOURS: dict[Codec, str] = {"JPEG": "#52525b", "WebP": "#a1a1aa"}


def rate_distortion(
    tokenizers: Mapping[str, Sequence[RatePoint]], codecs: Mapping[Codec, Sequence[RatePoint]], file: Path
) -> Path:
    """PSNR over bytes per image, logarithmic: tokenizers by their payload, codecs by file and in an archive.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure, axes = _figure()
    for (name, points), style in zip(tokenizers.items(), _styles(len(tokenizers)), strict=True):
        payload, line = [point.archive_bytes for point in points], "-" if len(points) > 1 else "none"
        axes.plot(payload, [point.psnr for point in points], label=f"{name}, payload", linestyle=line, **style)
        for point in points if len(points) > 1 else ():
            place = (point.archive_bytes, point.psnr)
            axes.annotate(str(point.setting), place, (0, 7), textcoords="offset points", ha="center", fontsize=8)
    for name, points in codecs.items():
        quality, colour = [point.psnr for point in points], CODEC_COLOURS[name]
        files, shared = [point.file_bytes for point in points], [point.archive_bytes for point in points]
        axes.plot(files, quality, "-", color=colour, label=f"{name}, one file")
        axes.plot(shared, quality, "--", color=colour, label=f"{name}, headers shared by {ARCHIVE} images")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("bytes per image")
    axes.set_ylabel("PSNR, dB")
    axes.legend(frameon=False, fontsize=9, loc="upper left")  # few bytes and a high PSNR: where nothing is
    with replace_atomically(file) as temporary:
        figure.savefig(temporary, format="png", dpi=144, bbox_inches="tight")
    return file


def distance_over_tokens(places: Mapping[str, tuple[float, float]], label: str, file: Path) -> Path:
    """Tokenizers by how many tokens an image takes, logarithmic, and their distance of the name `label`.

    Args:
        places: tokens and distance by name; at least one.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure, axes = _figure()
    for (name, (tokens, distance)), style in zip(places.items(), _styles(len(places)), strict=True):
        axes.plot([tokens], [distance], label=name, linestyle="none", **style)
    axes.set_xscale("log", base=2)
    counts = [tokens for tokens, _ in places.values()]
    axes.set_xlim(min(counts) / 1.5, max(counts) * 1.5)
    axes.legend(frameon=False, fontsize=9)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("tokens per image")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0, top=1.1 * max(distance for _, distance in places.values()))
    with replace_atomically(file) as temporary:
        figure.savefig(temporary, format="png", dpi=144, bbox_inches="tight")
    return file


def _styles(count: int) -> list[dict[str, Any]]:
    """A colour and a marker for each of `count` tokenizers."""
    return [
        dict(
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=7,
            markerfacecolor="none",
            markeredgewidth=1.8,
        )
        for place in range(count)
    ]


def _figure() -> tuple[Any, "Axes"]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'tokzoo[demo]'") from error
    figure = Figure(figsize=(7.5, 4.6), facecolor="white")  # no pyplot: no global state, no display
    axes = figure.add_subplot()
    axes.grid(visible=True, color="#e4e4e7", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
