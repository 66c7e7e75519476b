"""Evaluating one subject by one protocol, from photos to a result."""

import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tokzoo.data.readers import ImageFolder
from tokzoo.evaluation.protocol import Protocol
from tokzoo.evaluation.reference import reference_features, reference_moments
from tokzoo.evaluation.results import Result
from tokzoo.evaluation.scoring import Photos, Work, data_name, describe, pixels_sha256, score_images
from tokzoo.evaluation.settings import Settings
from tokzoo.evaluation.subjects import Subject
from tokzoo.evaluation.summary import FEW_IMAGES, Score, summarize
from tokzoo.metrics.extractors import Extractor, build_extractor

__all__ = ["Settings", "evaluate", "open_photos"]

STRAIGHT = 4  # images per feature from which the line of an extrapolation is straight enough


def evaluate(
    subject: Subject,
    photos: Photos,
    protocol: Protocol,
    settings: Settings,
    *,
    limit: int | None = None,
    reference_set: Photos | None = None,
) -> Result | None:
    """Runs what is left of the pass, and makes the result of all of it; None in all processes but the first.

    Args:
        limit: take only the first so many photos: a trial, which the result names a departure.
        reference_set: images to compare with, where the protocol's reference is not the photos themselves.

    Raises:
        ValueError: a protocol by which tokzoo does not measure, a subject of another image size, fewer photos than the
            protocol's metrics can do with, a work folder of another run, or reference statistics of another network.
    """
    _check_fit(subject, protocol, settings, limit, reference_set)
    extractor = _extractor(protocol, settings)
    moments = reference_moments(protocol, extractor, settings)
    count = min(len(photos), protocol.images.count or len(photos), limit or len(photos))
    began = time.perf_counter()
    arrays = score_images(
        subject,
        photos,
        protocol,
        extractor,
        Work(settings.work, describe(subject, protocol, data_name(photos), count, settings.batch_size)),
        count=count,
        batch_size=settings.batch_size,
        device=settings.device,
        share=settings.share,
    )
    known = reference_features(reference_set, protocol, extractor, settings) if reference_set is not None else {}
    if settings.share.rank:
        return None
    seconds = time.perf_counter() - began
    images: dict[str, Any] = {"set": protocol.images.set, "split": protocol.images.split, "count": count}
    images["sha256"] = pixels_sha256(arrays["digest"])
    if known:
        arrays["reference"] = known["features"]
        images |= {"reference_count": len(known["digest"]), "reference_sha256": pixels_sha256(known["digest"])}
    scores = summarize(
        arrays,
        protocol,
        levels=subject.levels,
        reference=moments.pooled,
        reference_spatial=moments.spatial,
        extrapolate=settings.extrapolate,
    )
    return _result(subject, protocol, settings, extractor, images, scores, seconds)


def _result(
    subject: Subject,
    protocol: Protocol,
    settings: Settings,
    extractor: Extractor | None,
    images: dict[str, Any],
    scores: dict[str, Score],
    seconds: float,
) -> Result:
    """Scores with all that a reader must know of them."""
    return Result(
        subject=subject.name,
        kind=subject.kind,
        weights=subject.weights,
        protocol=protocol.name,
        protocol_sha256=protocol.sha256,
        asked=protocol.asked,
        images=images,
        departures=departures(protocol, images, extractor),
        scores=scores,
        notes=_notes(protocol, images["count"], extractor, scores),
        seconds=round(seconds, 1),
        machine=f"{platform.machine()} {settings.device}, {torch.get_num_threads()} threads",
        versions=_versions(),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _check_fit(
    subject: Subject, protocol: Protocol, settings: Settings, limit: int | None, reference_set: Photos | None
) -> None:
    """Raises ValueError where these cannot be one run."""
    if protocol.elsewhere:
        raise ValueError(f"tokzoo does not measure by protocol {protocol.name}: {protocol.elsewhere}")
    if subject.image_size not in (None, protocol.image_size):
        raise ValueError(
            f"{subject.name} takes images of {subject.image_size} pixels, protocol {protocol.name} has "
            f"{protocol.image_size}; choose another protocol"
        )
    if settings.extrapolate and "fd" not in protocol.metrics:
        raise ValueError(f"protocol {protocol.name} measures no Frechet distance to extrapolate")
    if settings.batch_size < 1 or (limit is not None and limit < 1):
        raise ValueError(f"a batch, and a limit, are of at least one image; got {settings.batch_size} and {limit}")
    unpaired = protocol.reference != "images" and bool({"kid", "manifold"} & {*protocol.metrics})
    if (unpaired or protocol.reference == "set") and reference_set is None:
        raise ValueError(f"protocol {protocol.name} compares with a set of images: name its folder with --data")


def departures(protocol: Protocol, images: Mapping[str, Any], extractor: Extractor | None) -> list[str]:
    """Where an evaluation was not what its protocol says; `images` as in a `Result`."""
    found = []
    if protocol.images.count not in (None, images["count"]):
        found.append(f"{images['count']:,} images instead of {protocol.images.count:,}")
    elif protocol.images.sha256 not in (None, images["sha256"]):
        found.append(f"other images: pixels {images['sha256'][:12]} instead of {str(protocol.images.sha256)[:12]}")
    if protocol.reference_sha256 not in (None, seen := images.get("reference_sha256")):
        found.append(f"another reference: pixels {str(seen)[:12]} instead of {str(protocol.reference_sha256)[:12]}")
    want = protocol.extractor.weights_sha256 if protocol.extractor else None
    if extractor is not None and want is not None and not extractor.weights_sha256.startswith(want):
        found.append(f"weights {extractor.weights_sha256[:12]} of {extractor.name} instead of {str(want)[:12]}")
    return found


def _extractor(protocol: Protocol, settings: Settings) -> Extractor | None:
    network = protocol.extractor
    if network is None:
        return None
    return build_extractor(network.name, weights=settings.weights, **network.settings)


def _notes(protocol: Protocol, count: int, extractor: Extractor | None, scores: dict[str, Score]) -> list[str]:
    notes = []
    paired = protocol.reference == "images"
    if (protocol.images.sha256 if paired else protocol.reference_sha256) is None:
        what = "images" if paired else "reference"
        notes.append(f"the protocol {protocol.name} has no hash of its {what}: that these are they was not checked")
    if "fd" in protocol.metrics and extractor is not None:
        extrapolated = protocol.label("fd_infinity")
        if count < FEW_IMAGES:
            offer = "" if extrapolated in scores else "; --extrapolate estimates the distance without it"
            notes.append(
                f"{protocol.label('fd')} of {count:,} images is biased upwards: compare it at this number of images "
                f"only ({FEW_IMAGES:,} make the bias small{offer})"
            )
        if extrapolated in scores and count < STRAIGHT * extractor.width:
            notes.append(
                f"{extrapolated} of {count:,} images is rough: below {STRAIGHT} times the {extractor.width:,} features "
                "the distance does not fall in a straight line"
            )
        if count <= extractor.width:
            notes.append(f"{count:,} images are no more than the {extractor.width:,} features: a singular covariance")
    if any(score.value == float("inf") for score in scores.values()):
        notes.append("some image was given back exactly: its PSNR, and so the mean, is infinite")
    return notes


def _versions() -> dict[str, str]:
    found = {}
    for package in ("tokzoo", "torch", "timm", "pillow", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def open_photos(path: str | Path, protocol: Protocol) -> ImageFolder:
    """The photos of a folder or zip: the protocol's split where a manifest names splits."""
    whole = ImageFolder(path)
    if protocol.images.split is None or not whole.splits:
        return whole
    return ImageFolder(path, split=protocol.images.split)
