"""Sets of images that have no originals: samples of a generator, or a folder or .npz of them. N images, S side."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tokzoo import _finding, registry
from tokzoo.data.readers import ImageFolder
from tokzoo.evaluation.protocol import Protocol
from tokzoo.evaluation.scoring import Photos
from tokzoo.evaluation.subjects import Reconstruction, Subject
from tokzoo.token_files.identity import identify

__all__ = [
    "Blank",
    "Chosen",
    "Pipeline",
    "SampleArray",
    "generated",
    "generator_subject",
    "is_generator",
    "is_samples",
    "open_reference",
    "open_samples",
    "sample_files",
]

Generate = Callable[[int, int], Tensor]  # number of the first sample, how many -> (n, 3, S, S) in [0, 1]


class Pipeline(Interface):
    """A generator and its tokenizer, as `tokzoo.pipeline` gives them: labels -> images (N, 3, S, S) in [0, 1]."""

    def __call__(self, labels: Any, *, seed: int, **options: Any) -> Tensor: ...


class SampleArray:
    """Samples in an .npz as ADM's evaluator takes them: `arr_0`, uint8 (N, S, S, 3).

    Raises:
        ValueError: no such array in the file, or another kind of file.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.is_file() and not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is no .npz, or a damaged one: np.savez writes them")
        with np.load(path) as held:
            if "arr_0" not in held.files:
                raise ValueError(
                    f"{path} holds {', '.join(held.files)}; samples are an array arr_0, uint8 (N, S, S, 3)"
                )
            self._images = held["arr_0"]
        if self._images.dtype != np.uint8 or self._images.ndim != 4 or self._images.shape[3] != 3:
            raise ValueError(f"samples are uint8 (N, S, S, 3); got {self._images.dtype} {self._images.shape}")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        return np.asarray(self._images[index])


class Chosen:
    """Some photos of a set, by their positions in it."""

    def __init__(self, photos: ImageFolder, positions: Sequence[int]):
        self._photos, self._positions = photos, positions
        self.path = photos.path
        self.names = [photos.names[position] for position in positions]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        return self._photos[self._positions[index]]


class Blank:
    """Stands for the photos of a run that reads none: what a generator makes depends on its number alone."""

    def __init__(self, count: int, size: int):
        self._count, self._square = count, np.zeros((size, size, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        return self._square


def is_samples(name: str) -> bool:
    """Whether `name` is a set of images and no model: an .npz, a zip, or a folder without a config.json."""
    path = Path(name)
    return path.suffix in (".npz", ".zip") or (path.is_dir() and not (path / "config.json").exists())


def open_samples(path: str | Path, protocol: Protocol, *, size: int | None = None) -> Photos:
    """Samples of a folder, zip or .npz, as they are.

    Args:
        size: pixels of a side that they must have; None: that at which the protocol has them made, or judged.

    Raises:
        ValueError: samples of another size than the protocol's: resizing them is the user's to decide.
    """
    path = Path(path)
    samples: Photos = SampleArray(path) if path.suffix == ".npz" else ImageFolder(path)
    height, width = samples[0].shape[:2]
    taken = dict.fromkeys((protocol.image_size, protocol.compared_size) if size is None else (size,))
    if height != width or width not in taken:
        sizes = " or ".join(f"{side}x{side}" for side in taken)
        raise ValueError(f"protocol {protocol.name} is of {sizes} images; the samples of {path} are {height}x{width}")
    return samples


def open_reference(path: str | Path, protocol: Protocol) -> Photos:
    """The images that samples are compared with: those of the protocol's classes, where they have labels.

    Raises:
        ValueError: none is of such a class.
    """
    images = open_samples(path, protocol, size=protocol.compared_size)
    labels = getattr(images, "labels", None)
    if protocol.classes is None or labels is None or not isinstance(images, ImageFolder):
        return images
    wanted = {str(number) for number in range(len(_classes(protocol)))} | {str(name) for name in _classes(protocol)}
    chosen = [place for place, label in enumerate(labels) if label in wanted]
    if not chosen:
        seen = ", ".join(sorted(set(labels))[:10])
        raise ValueError(f"no image of {path} has a class of protocol {protocol.name}; its labels are {seen}")
    return Chosen(images, chosen)


def sample_files(name: str, side: int | None = None) -> Subject:
    """The subject of samples that lie in files: they are taken as they are, of `side` pixels."""

    def give_back(images: Tensor, first: int) -> Reconstruction:
        return Reconstruction(images)

    return Subject(name=Path(name).stem, kind="samples", reconstruct=give_back, given_size=side)


def generated(name: str, generate: Generate) -> Subject:
    """Samples of a generator.

    Args:
        generate: number of the first sample and how many -> images (n, 3, S, S) in [0, 1], the same whenever it is
            asked, so that a run that was killed goes on.
    """
    return Subject(
        name=name, kind="samples", reconstruct=lambda images, first: Reconstruction(generate(first, len(images)))
    )


def is_generator(name: str) -> bool:
    """Whether `name`, a registered one or a folder of ours, is of a generator."""
    described = Path(name, _finding.CONFIG)
    known = json.loads(described.read_text()).get("architecture") if described.is_file() else name
    try:
        return known is not None and registry.find(known)[0].kind == "generator"
    except KeyError:
        return False


def generator_subject(
    pipe: Pipeline, name: str, protocol: Protocol, *, guidance: float | None = None, seed: int = 0
) -> Subject:
    """Samples of a generator: each class of the protocol in turn, or drawn, as its `labels` say.

    Args:
        pipe: asked for classes by their names, where it and the protocol know some, else by their numbers.
        guidance: u + guidance * (c - u); None: as it was published. Either is part of the subject's name.
        seed: each batch draws by it and by the number of its first sample, so that a run that was killed goes on.

    Raises:
        ValueError: a protocol that does not say of which classes samples are.
    """
    classes = _classes(protocol)
    if not getattr(pipe, "classes", ()):
        classes = range(len(classes))
    options = {} if guidance is None else {"guidance": guidance}

    def generate(first: int, count: int) -> Tensor:
        places = [number % len(classes) for number in range(first, first + count)]
        if protocol.labels == "drawn":
            drawn = torch.Generator().manual_seed((seed << 32) + first)
            places = torch.randint(len(classes), (count,), generator=drawn).tolist()
        return pipe([classes[place] for place in places], seed=(seed << 32) + first, **options).float().cpu()

    published = getattr(getattr(pipe, "generator", None), "sampling", {}).get("guidance")
    scale = published if guidance is None else guidance
    called = name if scale is None else f"{name} guidance {_numbers(scale)}"
    halves = {half: getattr(pipe, half, None) for half in ("generator", "tokenizer")}
    weights = {half: _fingerprint(model) for half, model in halves.items() if isinstance(model, nn.Module)}
    return replace(generated(called, generate), weights=weights)


def _classes(protocol: Protocol) -> Sequence[int | str]:
    """Names, or numbers where there are none."""
    if protocol.classes is None:
        raise ValueError(f"protocol {protocol.name} is not of samples by class: it names no `classes`")
    return range(protocol.classes) if isinstance(protocol.classes, int) else protocol.classes


def _numbers(scale: float | Sequence[float]) -> str:
    """One scale, or one of each part of a token."""
    return " ".join(f"{each:g}" for each in (scale if isinstance(scale, Sequence) else (scale,)))


def _fingerprint(model: Any) -> str:
    """One hash of all of a model's weights."""
    return hashlib.sha256("".join(identify(model).weights.values()).encode()).hexdigest()[:32]
