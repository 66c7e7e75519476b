"""How a number is measured, as data: everything that changes it is a field, and the fields' hash is its identity."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from tokzoo import hub
from tokzoo.images import PROTOCOLS as PUBLISHED_CROPS
from tokzoo.images import resize_and_crop

__all__ = ["CROPS", "Bootstrap", "ImageSet", "Network", "Perturbation", "Protocol", "list_protocols", "load_protocol"]

Rounding = Literal["round", "truncate", "float", "jpeg95"]
Metric = Literal[
    "psnr", "ssim", "ms_ssim", "lpips_vgg", "lpips_alex", "perceptual", "fd", "sfd", "kid", "is", "manifold", "codes"
]
SsimName = Literal["classic", "torchmetrics", "uniform"]


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The centre square as it is, nothing resized. ValueError where the image is smaller."""
    if min(image.size) < size:
        raise ValueError(f"a centre crop of {size} pixels does not fit an image of {image.width}x{image.height}")
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


CROPS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    **PUBLISHED_CROPS,
    "centre": centre_crop,
    "bilinear": partial(resize_and_crop, resample="bilinear"),
    "lanczos": partial(resize_and_crop, resample="lanczos"),
}
UNHASHED = ("name", "about", "published_as")


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Which images.

    Args:
        set: name of the data set.
        split: its part, as its manifest calls it.
        count: how many, from the first by sorted name; None: as many as there are.
        sha256: over the pixels after resize and crop, where known: that of `Pixels`.
    """

    set: str
    split: str | None = None
    count: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Network:
    """Extractor of set metrics: its name and settings (`resize` or `side`), the sha256 of its weights or its start."""

    name: str
    settings: Mapping[str, str | int] = field(default_factory=dict)
    weights_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """Tokens that are exchanged before they are decoded: what pFID is of. arXiv:2503.08354, section 3.

    Args:
        tokens: alpha, chance of a token to be exchanged.
        neighbours: delta, how many codes near its latent are drawn from, its own among them.
        seed: of the draws.
    """

    tokens: float
    neighbours: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Resampling of images, for intervals of this level: `draws` for means, `set_draws` for what is costly."""

    draws: int = 1000
    set_draws: int = 50
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to measure.

    Args:
        name, about: for people; they are no part of the hash.
        published_as: what registered scores that were measured so say in their `protocol`; no part of the hash.
        images: what is reconstructed, or sampled.
        image_size: pixels of a side.
        crop: resize and crop, a name in `CROPS`.
        rounding: of the reconstruction before it is compared: to the nearest of 256 levels, down to one, not at all,
            or through JPEG of quality 95.
        caption: of each photo, with {} for its label, for tokenizers that read text.
        classes: of which samples are generated, each in turn: names in the order of their numbers, or how many
            without names. A reference set with labels, names or numbers, is of these alone.
        perturbation: exchange tokens first; the distance is then called `pfd`. The authors' grid of (alpha, delta) is
            not published with their code, so that each protocol is of one point.
        reference: `images`: the same images, cropped; `set`: another set of images, not paired with these; else the
            name of a file of statistics, beside which `kid` and `manifold` still need a set.
        reference_sha256: over the pixels of the set, where known, as that of `images`.
        extractor: of `fd`, `sfd`, `kid`, `is`, `manifold`, `perceptual`; None if none of them is asked for.
        metrics: what is measured.
        ssim: form of the SSIM.
        kid_subsets, kid_subset_size: of `kid`.
        neighbours, strict: of `manifold`: k, and whether a ball leaves out its surface.
        splits, shuffled: of `is`.

    Raises:
        ValueError: an unknown crop, rounding or metric, or a set metric without an extractor.
    """

    name: str
    about: str
    images: ImageSet
    image_size: int
    crop: str = "bicubic"
    rounding: Rounding = "round"
    caption: str = ""
    classes: int | tuple[str, ...] | None = None
    perturbation: Perturbation | None = None
    reference: str = "images"
    reference_sha256: str | None = None
    extractor: Network | None = None
    metrics: tuple[Metric, ...]
    ssim: SsimName = "classic"
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    neighbours: int = 3
    strict: bool = False
    splits: int = 10
    shuffled: bool = True
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    published_as: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("crop", self.crop, CROPS)
        _check("rounding", self.rounding, get_args(Rounding))
        _check("ssim", self.ssim, get_args(SsimName))
        for metric in self.metrics:
            _check("metric", metric, get_args(Metric))
        needing = {"fd", "sfd", "kid", "is", "manifold", "perceptual"} & set(self.metrics)
        if needing and self.extractor is None:
            raise ValueError(f"protocol {self.name!r} asks for {', '.join(sorted(needing))}: name an extractor")
        paired = {"psnr", "ssim", "ms_ssim", "lpips_vgg", "lpips_alex", "perceptual"} & set(self.metrics)
        if self.reference != "images" and paired:
            raise ValueError(f"{', '.join(sorted(paired))} compare an image with its own original: reference: images")

    @property
    def sha256(self) -> str:
        """Over all fields that change a number, as canonical JSON.

        What has its default value is left out, so that a new field, whose default is what was done before, changes no
        hash.
        """
        held = {key: value for key, value in _chosen(self).items() if key not in UNHASHED}
        return hashlib.sha256(json.dumps(held, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def label(self, metric: str) -> str:
        """The full name of a score: set metrics carry the extractor's name."""
        if self.perturbation is not None and metric in ("fd", "fd_infinity"):
            metric = f"p{metric}"
        return f"{metric}_{self.extractor.name}" if self.extractor and metric in OF_EXTRACTOR else metric


OF_EXTRACTOR = (
    "fd",
    "sfd",
    "kid",
    "is",
    "precision",
    "recall",
    "density",
    "coverage",
    "perceptual",
    "fd_infinity",
    "pfd",
    "pfd_infinity",
)


def _chosen(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, and those without one."""
    held = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if value != default:
            held[each.name] = _chosen(value) if is_dataclass(value) else value
    return held


def _check(what: str, value: str, allowed: Any) -> None:
    if value not in allowed:
        raise ValueError(f"{what} must be one of {', '.join(allowed)}; got {value!r}")


def list_protocols() -> list[str]:
    """Names of those that come with tokzoo, sorted."""
    return sorted(file.stem for file in hub.data_folder("protocols").glob("*.yaml"))


def load_protocol(name: str | Path) -> Protocol:
    """A protocol by its name, or of a YAML file of one's own.

    Raises:
        KeyError: no such protocol. ImportError: PyYAML is missing.
        ValueError: a field that protocols lack, or a value that it does not take.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError("protocols are YAML, which needs PyYAML: pip install 'tokzoo[eval]'") from error
    file = Path(name)
    if file.suffix not in (".yaml", ".yml"):
        if name not in list_protocols():
            raise KeyError(f"no protocol is called {str(name)!r}; there are {', '.join(list_protocols())}")
        file = hub.data_folder("protocols") / f"{name}.yaml"
    held = yaml.safe_load(file.read_text(encoding="utf-8"))
    return parse_protocol({"name": file.stem, **held})


def parse_protocol(held: Mapping[str, Any]) -> Protocol:
    """A protocol of what its YAML holds."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in held.items()}
    for key, kind in (
        ("images", ImageSet),
        ("extractor", Network),
        ("bootstrap", Bootstrap),
        ("perturbation", Perturbation),
    ):
        if isinstance(values.get(key), Mapping):
            _check_fields(f"{key} of a protocol", values[key], kind)
            values[key] = kind(**values[key])
    _check_fields("a protocol", values, Protocol)
    return Protocol(**values)


def _check_fields(what: str, values: Mapping[str, Any], kind: Any) -> None:
    known = [each.name for each in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{what} has no field {', '.join(unknown)}; it has {', '.join(known)}")
