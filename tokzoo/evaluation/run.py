"""Evaluating one subject by one protocol, from photos to a result."""

import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from tokzoo.data.readers import ImageFolder
from tokzoo.evaluation.protocol import Protocol
from tokzoo.evaluation.results import Result
from tokzoo.evaluation.scoring import Photos, Share, Work, describe, pixels_sha256, score_images
from tokzoo.evaluation.subjects import Reconstruction, Subject
from tokzoo.evaluation.summary import FEW_IMAGES, Score, summarize
from tokzoo.metrics.extractors import Extractor, build_extractor
from tokzoo.metrics.statistics import Moments, Origin, load_moments

__all__ = ["Settings", "evaluate", "open_photos"]

STRAIGHT = 4  # images per feature from which the line of an extrapolation is straight enough


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may change the speed of an evaluation, and its files' places, but no number.

    Args:
        work: folder of the run's batches, kept until the result is there.
        batch_size: images at once; only what is drawn at random, by generators and some decoders, is drawn by batches.
        device: of the metrics' networks.
        weights: file of the extractor's weights; None: where it finds them.
        reference: file of reference statistics, where the protocol asks for one.
        extrapolate: also the Frechet distance at infinity.
        share: which part of the batches is this process's.
    """

    work: Path
    batch_size: int = 32
    device: str = "cpu"
    weights: Path | None = None
    reference: Path | None = None
    extrapolate: bool = False
    share: Share = field(default_factory=Share)

    def remove_work(self) -> None:
        """Removes the batches, once their result is written."""
        shutil.rmtree(self.work)


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
    _check_fit(subject, protocol, settings, limit)
    count = min(len(photos), protocol.images.count or len(photos), limit or len(photos))
    data = _data_name(photos)
    extractor = _extractor(protocol, settings)
    reference, spatial = _reference(protocol, extractor, settings)
    unpaired = protocol.reference != "images" and bool({"kid", "manifold"} & {*protocol.metrics})
    if (unpaired or protocol.reference == "set") and reference_set is None:
        raise ValueError(f"protocol {protocol.name} compares with a set of images: name its folder with --data")
    work = Work(settings.work, describe(subject, protocol, data, count, settings.batch_size))
    began = time.perf_counter()
    arrays = score_images(
        subject,
        photos,
        protocol,
        extractor,
        work,
        count=count,
        batch_size=settings.batch_size,
        device=settings.device,
        share=settings.share,
    )
    compared: dict[str, Any] = {}
    if reference_set is not None:
        known = _reference_arrays(reference_set, protocol, extractor, settings)
        if known:
            arrays["reference"] = known["features"]
            compared = {"reference_count": len(reference_set), "reference_sha256": pixels_sha256(known["digest"])}
    if settings.share.rank:
        return None
    seconds = time.perf_counter() - began
    scores = summarize(
        arrays,
        protocol,
        levels=subject.levels,
        reference=reference,
        reference_spatial=spatial,
        extrapolate=settings.extrapolate,
    )
    digest = pixels_sha256(arrays["digest"])
    images = {"set": protocol.images.set, "split": protocol.images.split, "count": count, "sha256": digest} | compared
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
        notes=_notes(protocol, count, extractor, scores),
        seconds=round(seconds, 1),
        machine=f"{platform.machine()} {settings.device}, {torch.get_num_threads()} threads",
        versions=_versions(),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _check_fit(subject: Subject, protocol: Protocol, settings: Settings, limit: int | None) -> None:
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


def _reference(
    protocol: Protocol, extractor: Extractor | None, settings: Settings
) -> tuple[Moments | None, Moments | None]:
    if protocol.reference in ("images", "set") or extractor is None:
        if settings.reference is not None:
            raise ValueError(f"protocol {protocol.name} compares with no statistics: leave {settings.reference} out")
        return None, None
    if settings.reference is None:
        raise ValueError(f"protocol {protocol.name} compares with {protocol.reference}: name that file by --reference")
    seen = protocol.compared_size
    expect = Origin(extractor=extractor.name, weights_sha256=extractor.weights_sha256, image_size=seen)
    spatial = load_moments(settings.reference, expect=expect, spatial=True) if "sfd" in protocol.metrics else None
    return load_moments(settings.reference, expect=expect), spatial


def _reference_arrays(
    photos: Photos, protocol: Protocol, extractor: Extractor | None, settings: Settings
) -> dict[str, npt.NDArray[Any]]:
    """Features and digests of a set of images, by a pass of its own that is resumed likewise."""
    subject = Subject(name="reference", kind="samples", reconstruct=lambda images, first: Reconstruction(images))
    only = replace(protocol, metrics=("fd",), reference="set", image_size=protocol.compared_size, judged_size=None)
    batch_size = settings.batch_size
    work = Work(settings.work / "reference", describe(subject, only, _data_name(photos), len(photos), batch_size))
    return score_images(
        subject,
        photos,
        only,
        extractor,
        work,
        count=len(photos),
        batch_size=batch_size,
        device=settings.device,
        share=settings.share,
    )


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


def _data_name(photos: Photos) -> str:
    """Name, size and number of what is read: enough to tell that a run is started again with other data."""
    path = getattr(photos, "path", None)
    names: Any = getattr(photos, "names", None)
    size = os.stat(path).st_size if path is not None and Path(path).is_file() else 0
    return f"{Path(path).name if path is not None else 'images'} {size} {len(photos)} {names[0] if names else ''}"


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
