"""How a number is measured, as data: everything that changes it is a field, and the fields' hash is its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from tokzoo import _files
from tokzoo.evaluation.crops import CROPS

__all__ = [
    "Bootstrap",
    "ImageSet",
    "Network",
    "Perturbation",
    "Protocol",
    "Published",
    "list_protocols",
    "load_protocol",
]

Rounding = Literal["round", "truncate", "float", "jpeg95"]
Metric = Literal[
    "psnr",
    "ssim",
    "ms_ssim",
    "l1",
    "lpips_vgg",
    "lpips_alex",
    "dreamsim",
    "perceptual",
    "fd",
    "sfd",
    "kid",
    "is",
    "manifold",
    "codes",
]
PAIRED = {"psnr", "ssim", "ms_ssim", "l1", "lpips_vgg", "lpips_alex", "dreamsim", "perceptual"}
SsimName = Literal["classic", "torchmetrics", "uniform"]
LpipsRange = Literal["signed", "unit"]
Labels = Literal["in_turn", "drawn"]
UNHASHED = ("name", "about", "published", "elsewhere")


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
class Published:
    """Registered scores that were measured by a protocol.

    Args:
        texts: what they say in their `protocol`; * stands for any words.
        scores: the published name of a metric -> the name of our score.
        unknown: what of its authors' way is told nowhere, so that no number is put beside theirs.
    """

    texts: tuple[str, ...]
    scores: Mapping[str, str]
    unknown: tuple[str, ...] = ()

    def covers(self, metric: str, text: str) -> bool:
        """Whether a score of `metric` whose `protocol` is `text` is one of these."""
        return metric in self.scores and any(fnmatchcase(text, pattern) for pattern in self.texts)


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
        published: which registered scores were measured so; no part of the hash.
        elsewhere: why tokzoo does not measure by it, and who does; no part of the hash. `metrics` are empty then.
        images: what is reconstructed, or sampled.
        image_size: pixels of a side of what a tokenizer is given, or a generator makes.
        judged_size: pixels of a side at which images are compared, where it is another: what is made is resized to it
            (bicubic, without antialias), an original is cropped to it instead of to `image_size`. As LlamaGen.
        crop: resize and crop, a name in `CROPS`.
        rounding: of the reconstruction before it is compared: to the nearest of 256 levels, down to one, not at all,
            or through JPEG of quality 95.
        num_tokens: how many tokens an image gets, of tokenizers whose number is not fixed; None: as many as usual.
        max_error: mean absolute error in [0, 1] that is asked for, of tokenizers that spend tokens by it (KARL, ALIT).
        caption: of each photo, with {} for its label, for tokenizers that read text.
        classes: of which samples are generated, each in turn: names in the order of their numbers, or how many
            without names. A reference set with labels, names or numbers, is of these alone.
        labels: whether classes come `in_turn`, so that each is sampled as often, or are `drawn`.
        perturbation: exchange tokens first; the distance is then called `pfd`. The authors' grid of (alpha, delta) is
            not published with their code, so that each protocol is of one point.
        reference: `images`: the same images, cropped; `set`: another set of images, not paired with these; else the
            name of a file of statistics, beside which `kid` and `manifold` still need a set.
        reference_sha256: over the pixels of the set, where known, as that of `images`.
        extractor: of `fd`, `sfd`, `kid`, `is`, `manifold`, `perceptual`; None if none of them is asked for.
        metrics: what is measured.
        ssim: form of the SSIM.
        lpips_range: what LPIPS is given: images in [-1, 1], as it takes them, or `unit`, in [0, 1], as some gave it.
        kid_subsets, kid_subset_size: of `kid`.
        neighbours, strict: of `manifold`: k, and whether a ball leaves out its surface.
        splits, shuffled: of `is`.

    Raises:
        ValueError: an unknown crop, rounding or metric, a set metric without an extractor, or fields that exclude each
            other.
    """

    name: str
    about: str
    images: ImageSet
    image_size: int
    judged_size: int | None = None
    crop: str = "bicubic"
    rounding: Rounding = "round"
    num_tokens: int | None = None
    max_error: float | None = None
    caption: str = ""
    classes: int | tuple[str, ...] | None = None
    labels: Labels = "in_turn"
    perturbation: Perturbation | None = None
    reference: str = "images"
    reference_sha256: str | None = None
    extractor: Network | None = None
    metrics: tuple[Metric, ...] = ()
    ssim: SsimName = "classic"
    lpips_range: LpipsRange = "signed"
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    neighbours: int = 3
    strict: bool = False
    splits: int = 10
    shuffled: bool = True
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    published: tuple[Published, ...] = ()
    elsewhere: str = ""

    def __post_init__(self) -> None:
        _check("crop", self.crop, CROPS)
        _check("rounding", self.rounding, get_args(Rounding))
        _check("ssim", self.ssim, get_args(SsimName))
        _check("lpips_range", self.lpips_range, get_args(LpipsRange))
        _check("labels", self.labels, get_args(Labels))
        for metric in self.metrics:
            _check("metric", metric, get_args(Metric))
        needing = {"fd", "sfd", "kid", "is", "manifold", "perceptual"} & set(self.metrics)
        if needing and self.extractor is None:
            raise ValueError(f"protocol {self.name!r} asks for {', '.join(sorted(needing))}: name an extractor")
        paired = PAIRED & set(self.metrics)
        if self.reference != "images" and paired:
            raise ValueError(f"{', '.join(sorted(paired))} compare an image with its own original: reference: images")
        if bool(self.metrics) == bool(self.elsewhere):
            raise ValueError(f"protocol {self.name!r} needs metrics, or says in `elsewhere` why it has none")
        if self.perturbation is not None and self.encoding:
            raise ValueError(
                f"protocol {self.name!r} exchanges tokens: it cannot ask for {', '.join(self.encoding)} too"
            )

    @property
    def encoding(self) -> dict[str, int | float]:
        """What a tokenizer is asked for besides tokens of an image."""
        asked = {"num_tokens": self.num_tokens, "max_error": self.max_error}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def asked(self) -> dict[str, int | float | str]:
        """What of tokens, sizes and labels is not the usual, for people to see beside the numbers."""
        sizes = {} if self.judged_size is None else {"image_size": self.image_size, "judged_size": self.judged_size}
        return {**self.encoding, **sizes, **({} if self.labels == "in_turn" else {"labels": self.labels})}

    @property
    def compared_size(self) -> int:
        """Pixels of a side at which images are compared."""
        return self.judged_size or self.image_size

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
    return sorted(file.stem for file in _files.data_folder("protocols").glob("*.yaml"))


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
        file = _files.data_folder("protocols") / f"{name}.yaml"
    held = yaml.safe_load(file.read_text(encoding="utf-8"))
    return parse_protocol({"name": file.stem, **held})


def parse_protocol(held: Mapping[str, Any]) -> Protocol:
    """A protocol of what its YAML holds."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in held.items()}
    values["published"] = tuple(_parse_published(each) for each in values.get("published", ()))
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


def _parse_published(held: Mapping[str, Any]) -> Published:
    _check_fields("published of a protocol", held, Published)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in held.items()}
    return Published(**values)


def _check_fields(what: str, values: Mapping[str, Any], kind: Any) -> None:
    known = [each.name for each in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{what} has no field {', '.join(unknown)}; it has {', '.join(known)}")
