"""From what a user names to what an evaluation takes: a subject, its photos, and what samples are compared with."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import tokzoo
from tokzoo.evaluation.protocol import Protocol
from tokzoo.evaluation.published import registered_scores
from tokzoo.evaluation.run import open_photos
from tokzoo.evaluation.samples import (
    Blank,
    generator_subject,
    is_generator,
    is_samples,
    open_reference,
    open_samples,
    sample_files,
)
from tokzoo.evaluation.scoring import Photos
from tokzoo.evaluation.subjects import Captions, Subject, load_subject

__all__ = ["Opened", "open_evaluation"]


class Opened(NamedTuple):
    """What `tokzoo.evaluation.run.evaluate` takes. `protocol` has the caption that was asked for."""

    subject: Subject
    photos: Photos
    protocol: Protocol
    reference: Photos | None = None


def open_evaluation(
    name: str,
    protocol: Protocol,
    *,
    data: str | Path | None = None,
    file: str | Path | None = None,
    caption: str | None = None,
    guidance: float | None = None,
    device: str = "cpu",
) -> Opened:
    """Loads a tokenizer, a generator with its tokenizer, a stand-in, or samples that lie in files.

    Args:
        name: a registered name, repository or folder; a folder, zip or .npz of samples; `identity`, `jpeg_q50`, ...
        data: the photos; for samples, the images to compare with, where the protocol needs them.
        file: a tokenizer's published weights, where they lie here already.
        caption: instead of the protocol's, of which it makes another.
        guidance: of a generator; None: as it was published.

    Raises:
        ValueError: a protocol by which tokzoo does not measure, no photos for a tokenizer, or an option that has no
            meaning for what is evaluated.
    """
    if protocol.elsewhere:
        raise ValueError(f"tokzoo does not measure by protocol {protocol.name}: {protocol.elsewhere}")
    if caption is not None:
        protocol = replace(protocol, caption=caption)
    samples, generator = is_samples(name), is_generator(name)
    if guidance is not None and not generator:
        raise ValueError(f"guidance is of generators; {name} is none")
    if samples and protocol.reference == "images":
        raise ValueError(
            f"protocol {protocol.name} compares reconstructions with their originals, and samples ({name}) have none: "
            "choose one that compares with a set or with statistics, as labelled64_gfd and in1k_256_gfid do"
        )
    if samples or generator:
        reference = open_reference(data, protocol) if data else None
        if samples:
            photos = open_samples(name, protocol)
            return Opened(sample_files(name, len(photos[0])), photos, protocol, reference)
        if protocol.images.count is None:
            raise ValueError(f"protocol {protocol.name} does not say how many images a generator is to make")
        pipe = tokzoo.pipeline(name) if device == "cpu" else tokzoo.pipeline(name, device=device)
        subject = replace(
            generator_subject(pipe, name, protocol, guidance=guidance),
            scores=registered_scores(pipe.generator.name),
            unlike="" if guidance is None else f"guidance {guidance:g} instead of the published one",
        )
        return Opened(subject, Blank(protocol.images.count, protocol.image_size), protocol, reference)
    if not data:
        raise ValueError(f"protocol {protocol.name} is of {protocol.images.set}: say where it lies with --data")
    photos = open_photos(data, protocol)
    captions = _captions(protocol.caption, photos.labels)
    subject = load_subject(
        name,
        file=file,
        captions=captions,
        encoding=protocol.encoding,
        perturbation=protocol.perturbation,
        device=device,
    )
    if caption and not subject.reads_text:
        raise ValueError(f"{subject.name} reads no text: leave the caption out")
    return Opened(subject, photos, protocol)


def _captions(template: str, labels: list[str] | None) -> Captions | None:
    if not template:
        return None
    if "{}" in template and labels is None:
        raise ValueError("captions are made of labels, and these photos have none; leave {} out")
    return lambda first, count: [
        template.format(label) for label in (labels[first : first + count] if labels else [""] * count)
    ]
