"""Mean and covariance of features: gathered in one pass, merged, kept in files that other evaluators read too.

N features, D their width.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokzoo._files import replace_atomically

__all__ = ["GaussianStatistics", "Moments", "Origin", "check_features", "load_moments", "save_moments"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What statistics were taken of. None: the file does not say, as files of other tools do not.

    Args:
        extractor: name of the network that gave the features.
        weights_sha256: of its weights.
        image_size: pixels of a side before the network's own resize.
        images: which images.
    """

    extractor: str | None = None
    weights_sha256: str | None = None
    image_size: int | None = None
    images: str | None = None

    def misfit(self, other: "Origin") -> str | None:
        """What both say and say differently, or None."""
        for name in ("extractor", "weights_sha256", "image_size"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if None not in (ours, theirs) and ours != theirs:
                return f"{name} {ours!r} and {theirs!r}"
        return None


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (D,) and unbiased covariance (D, D) of features, float64; `count` of them, None if a file does not say."""

    mean: Tensor
    covariance: Tensor
    count: int | None = None
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        width = self.mean.numel()
        if self.mean.ndim != 1 or self.covariance.shape != (width, width):
            raise ValueError(
                f"moments are a mean (D,) and a covariance (D, D); got {tuple(self.mean.shape)} and "
                f"{tuple(self.covariance.shape)}"
            )
        if not bool(self.mean.isfinite().all() and self.covariance.isfinite().all()):
            raise ValueError("the mean or the covariance holds NaN or infinity; take the statistics again")


class GaussianStatistics:
    """Count, mean and scatter of features seen so far, in float64 and constant memory.

    Batches are joined by the pairwise rule of Chan, Golub and LeVeque (1979), which loses no digits where the mean is
    large beside the spread, and by which statistics of several processes merge as if one had seen all.

    Args:
        width: D.
    """

    def __init__(self, width: int):
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.scatter = torch.zeros(width, width, dtype=torch.float64)  # sum of outer products around the mean

    @classmethod
    def of(cls, features: Tensor) -> "GaussianStatistics":
        """Of all rows of `features` (N, D)."""
        statistics = cls(features.shape[1])
        statistics.update(features)
        return statistics

    def update(self, features: Tensor) -> None:
        """Takes in features (N, D) of any float dtype and device.

        Raises:
            ValueError: another width, NaN or infinity.
        """
        check_features(features, self.mean.numel())
        if not len(features):
            return
        rows = features.detach().to("cpu", torch.float64)
        mean = rows.mean(0)
        centred = rows - mean
        self._join(len(rows), mean, centred.t() @ centred)

    def merge(self, other: "GaussianStatistics") -> None:
        """Takes in what another process has seen."""
        if other.mean.numel() != self.mean.numel():
            raise ValueError(f"cannot merge statistics of {self.mean.numel()} and {other.mean.numel()} features")
        if other.count:
            self._join(other.count, other.mean, other.scatter)

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        step = mean - self.mean
        self.mean = self.mean + step * (count / total)
        self.scatter = self.scatter + scatter + torch.outer(step, step) * (self.count * count / total)
        self.count = total

    def moments(self, origin: Origin | None = None) -> Moments:
        """The estimates: covariance divided by N - 1.

        Raises:
            ValueError: fewer than two features.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 features; got {self.count}")
        return Moments(self.mean, self.scatter / (self.count - 1), self.count, origin or Origin())

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `from_state` makes the same statistics of it."""
        return {"count": self.count, "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "GaussianStatistics":
        statistics = cls(state["mean"].numel())
        statistics.count, statistics.mean, statistics.scatter = state["count"], state["mean"], state["scatter"]
        return statistics

    @classmethod
    def merged(cls, parts: Iterable["GaussianStatistics"]) -> "GaussianStatistics":
        """All parts as one, in their order."""
        parts = list(parts)
        whole = cls(parts[0].mean.numel())
        for part in parts:
            whole.merge(part)
        return whole


def check_features(features: Tensor, width: int | None = None) -> None:
    """Raises ValueError unless `features` are finite numbers (N, width)."""
    if features.ndim != 2 or (width is not None and features.shape[1] != width):
        raise ValueError(f"features must be (N, {width or 'D'}); got {tuple(features.shape)}")
    finite = features.isfinite().all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise ValueError(
            f"{int((~finite).sum())} of {len(features)} features hold NaN or infinity, the first in row {first}; "
            "look at the image it is of, and whether the extractor ran in half precision"
        )


# --- files -----------------------------------------------------------------------------------------------------------


def save_moments(moments: Moments, file: str | Path, *, spatial: Moments | None = None) -> Path:
    """Writes reference statistics.

    `.npz` has `mu` and `sigma`, as pytorch-fid and clean-fid read them, beside count and origin; with `spatial` also
    `mu_s` and `sigma_s`, without which the ADM evaluator takes no file. `.pt` is what torch-fidelity keeps in its
    cache, whose mean is float32; it has no room for count and origin.

    Raises:
        ValueError: another suffix.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npz":
        arrays = {"mu": moments.mean.numpy(), "sigma": moments.covariance.numpy()}
        if spatial is not None:
            arrays |= {"mu_s": spatial.mean.numpy(), "sigma_s": spatial.covariance.numpy()}
        about = json.dumps({"count": moments.count, **asdict(moments.origin)})
        with replace_atomically(file) as temporary:
            np.savez(temporary, about=np.array(about), **arrays)  # type: ignore[arg-type]
    elif file.suffix == ".pt":
        published = {"mu": moments.mean.numpy().astype(np.float32), "sigma": moments.covariance.numpy()}
        with replace_atomically(file) as temporary:
            torch.save(published, temporary)
    else:
        raise ValueError(f"statistics are written to .npz, or to .pt for torch-fidelity; got {file.name}")
    return file


def load_moments(file: str | Path, *, expect: Origin | None = None, spatial: bool = False) -> Moments:
    """Reads what `save_moments` wrote, or a file of pytorch-fid, clean-fid, ADM or torch-fidelity.

    Args:
        expect: what the numbers will be compared with; a file that says otherwise is refused.
        spatial: the statistics for sFID (`mu_s`, `sigma_s`).

    Raises:
        ValueError: no statistics in the file, or those of another extractor, its weights, or another image size.
    """
    file = Path(file)
    suffix = "_s" if spatial else ""
    keys = (f"mu{suffix}", f"sigma{suffix}")
    if file.suffix == ".pt":
        held = _torch_arrays(file)
    else:
        with np.load(file) as opened:  # lazily: an ADM file's ten thousand images stay where they are
            held = {key: opened[key] for key in (*keys, "about") if key in opened.files}
            names = opened.files
        if not all(key in held for key in keys):
            raise ValueError(f"{file} holds no {' and '.join(keys)}, but {', '.join(names)}; is it a file of images?")
    about = json.loads(str(held["about"])) if "about" in held else {}
    count = about.pop("count", None)
    origin = Origin(**{key: value for key, value in about.items() if key in {each.name for each in fields(Origin)}})
    if expect is not None and (misfit := origin.misfit(expect)):
        raise ValueError(f"{file} has other statistics than are wanted: {misfit}. Take them again, or name another.")
    mean, covariance = (torch.from_numpy(np.asarray(held[key], dtype=np.float64)) for key in keys)
    return Moments(mean, covariance, count, origin)


def _torch_arrays(file: Path) -> dict[str, Any]:
    """NumPy arrays of a torch file, with nothing but arrays allowed in it."""
    reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]  # how NumPy pickles an array
    allowed = [reconstruct, np.ndarray, np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType]
    with torch.serialization.safe_globals(allowed):
        held: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return held
