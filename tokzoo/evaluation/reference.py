"""What samples are compared with: statistics in a file, or the features of a set of images.

The features of a set are the same for every generator that is judged by it, and are kept between evaluations. N images,
S side.
"""

import hashlib
import inspect
import io
import json
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tqdm import tqdm

from tokzoo._files import write_atomically
from tokzoo.benchmarks.machine import accelerator_name, installed, processor
from tokzoo.evaluation import scoring
from tokzoo.evaluation.crops import CROPS
from tokzoo.evaluation.protocol import Protocol
from tokzoo.evaluation.scoring import Arrays, Photos, Work, data_name, describe, digest_of, pixels_sha256, score_images
from tokzoo.evaluation.settings import Settings
from tokzoo.evaluation.subjects import Reconstruction, Subject
from tokzoo.losses import perceptual
from tokzoo.metrics import extractors, inception, resize
from tokzoo.metrics.extractors import Extractor
from tokzoo.metrics.statistics import Moments, Origin, load_moments

__all__ = ["KeptFeatures", "ReferenceMoments", "reference_features", "reference_moments"]

CODE = (scoring, perceptual, extractors, inception, resize)  # between pixels and features
PACKAGES = ("torch", "torchvision", "timm", "numpy")  # likewise; Pillow's work is in the pixels
SEAL = hashlib.sha256().digest_size  # bytes


class ReferenceMoments(NamedTuple):
    """Statistics that a protocol compares with; None where it compares with none, or not with those of sFID."""

    pooled: Moments | None = None
    spatial: Moments | None = None


def reference_moments(protocol: Protocol, extractor: Extractor | None, settings: Settings) -> ReferenceMoments:
    """Of the file that `settings` name.

    Raises:
        ValueError: a file that is not asked for, none where one is, or statistics of another network or image size.
    """
    if protocol.reference in ("images", "set") or extractor is None:
        if settings.reference is not None:
            raise ValueError(f"protocol {protocol.name} compares with no statistics: leave {settings.reference} out")
        return ReferenceMoments()
    if settings.reference is None:
        raise ValueError(f"protocol {protocol.name} compares with {protocol.reference}: name that file by --reference")
    seen = protocol.compared_size
    expect = Origin(extractor=extractor.name, weights_sha256=extractor.weights_sha256, image_size=seen)
    spatial = load_moments(settings.reference, expect=expect, spatial=True) if "sfd" in protocol.metrics else None
    return ReferenceMoments(load_moments(settings.reference, expect=expect), spatial)


def reference_features(photos: Photos, protocol: Protocol, extractor: Extractor | None, settings: Settings) -> Arrays:
    """`features` and `digest` of a set of images: kept ones, or by a pass of its own that is resumed like any other.

    The first process looks for kept ones and makes them this run's batches, so that none is left to any process.

    Returns:
        Arrays over images; none in all processes but the first.
    """
    subject = Subject(name="reference", kind="samples", reconstruct=lambda images, first: Reconstruction(images))
    only = replace(protocol, metrics=("fd",), reference="set", image_size=protocol.compared_size, judged_size=None)
    identity = describe(subject, only, data_name(photos), len(photos), settings.batch_size)
    work = Work(settings.work / "reference", identity)
    kept, known = None, None
    if settings.cache is not None and extractor is not None and settings.share.rank == 0:
        kept = KeptFeatures(settings.cache, _depends_on(photos, only, extractor, settings))
        if (known := kept.read()) is not None:
            work.save_all(known, settings.batch_size)
    settings.share.wait()
    arrays = score_images(
        subject,
        photos,
        only,
        extractor,
        work,
        count=len(photos),
        batch_size=settings.batch_size,
        device=settings.device,
        share=settings.share,
    )
    if kept is not None and known is None:
        kept.write(arrays)
    return arrays


class KeptFeatures:
    """Features of one set of images by one network, in a file named after all that they depend on.

    A file is its content's sha256, then the content, an .npz. It is written in one step, so that any number of
    processes may read and write it, and one that cannot be used costs a warning and nothing else.

    Args:
        folder: of all such files; made where it is not there. Any of them may be removed at any time.
        depends_on: whatever changes the numbers.
    """

    def __init__(self, folder: Path, depends_on: Mapping[str, Any]):
        name = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        self.file = folder / f"{name[:32]}.features"

    def read(self) -> Arrays | None:
        """What is kept; None if nothing is, or it is damaged."""
        try:
            sealed = self.file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            warnings.warn(f"cannot read kept features ({error}): they are taken anew", stacklevel=3)
            return None
        seal, content = sealed[:SEAL], sealed[SEAL:]
        if hashlib.sha256(content).digest() != seal:
            warnings.warn(f"{self.file} is damaged: the features are taken anew", stacklevel=3)
            return None
        with np.load(io.BytesIO(content)) as held:
            return {key: held[key] for key in held.files}

    def write(self, arrays: Arrays) -> None:
        """Keeps arrays over images."""
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, hashlib.sha256(content.getvalue()).digest() + content.getvalue())
        except OSError as error:  # a full disk, or one that is read only
            warnings.warn(f"features of the reference set are not kept: {error}", stacklevel=3)


def _depends_on(photos: Photos, protocol: Protocol, extractor: Extractor, settings: Settings) -> dict[str, Any]:
    """All that changes a bit of features: pixels, network, code, and by what their sums are added up."""
    network = protocol.extractor
    return {
        "pixels": pixels_sha256(_digests(photos, protocol)),
        "rounding": protocol.rounding,
        "extractor": [extractor.name, dict(network.settings) if network else {}, extractor.weights_sha256],
        "code": hashlib.sha256("".join(map(inspect.getsource, CODE)).encode()).hexdigest(),
        "versions": {package: installed(package) for package in PACKAGES},
        "batch_size": settings.batch_size,
        "processes": [settings.share.count, torch.get_num_threads()],
        "processor": [processor(), settings.device, accelerator_name(settings.device)],
    }


def _digests(photos: Photos, protocol: Protocol) -> npt.NDArray[np.uint8]:
    """Hashes of the cropped images, (N, 32): Pillow lets threads decode side by side."""
    crop, size = CROPS[protocol.crop], protocol.image_size

    def digest(index: int) -> npt.NDArray[np.uint8]:
        return digest_of(np.asarray(crop(Image.fromarray(photos[index]), size)))

    with ThreadPoolExecutor() as threads:
        found = threads.map(digest, range(len(photos)))
        return np.stack(list(tqdm(found, total=len(photos), desc="reference pixels", unit="image")))
