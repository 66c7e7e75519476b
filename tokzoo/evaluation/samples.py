"""Sets of images that have no originals: samples of a generator, or a folder or .npz of them. N images, S side."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tokzoo.data.readers import ImageFolder
from tokzoo.evaluation.protocol import Protocol
from tokzoo.evaluation.scoring import Photos
from tokzoo.evaluation.subjects import Reconstruction, Subject

__all__ = ["Blank", "SampleArray", "generated", "is_samples", "open_samples", "sample_files"]

Generate = Callable[[int, int], Tensor]  # number of the first sample, how many -> (n, 3, S, S) in [0, 1]


class SampleArray:
    """Samples in an .npz as ADM's evaluator takes them: `arr_0`, uint8 (N, S, S, 3).

    Raises:
        ValueError: no such array in the file.
    """

    def __init__(self, path: Path):
        self.path = path
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


def open_samples(path: str | Path, protocol: Protocol) -> Photos:
    """Samples of a folder, zip or .npz, as they are.

    Raises:
        ValueError: samples of another size than the protocol's: resizing them is the user's to decide.
    """
    path = Path(path)
    samples: Photos = SampleArray(path) if path.suffix == ".npz" else ImageFolder(path)
    height, width = samples[0].shape[:2]
    if (height, width) != (protocol.image_size, protocol.image_size):
        raise ValueError(
            f"protocol {protocol.name} is of {protocol.image_size}x{protocol.image_size} images; the samples of {path} "
            f"are {height}x{width}"
        )
    return samples


def sample_files(name: str) -> Subject:
    """The subject of samples that lie in files: they are taken as they are."""
    return Subject(name=Path(name).stem, kind="samples", reconstruct=lambda images, first: Reconstruction(images))


def generated(name: str, generate: Generate) -> Subject:
    """Samples of a generator.

    Args:
        generate: number of the first sample and how many -> images (n, 3, S, S) in [0, 1], the same whenever it is
            asked, so that a run that was killed goes on.
    """
    return Subject(
        name=name, kind="samples", reconstruct=lambda images, first: Reconstruction(generate(first, len(images)))
    )
