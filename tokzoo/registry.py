"""Names -> models, as data. Listing needs no torch: of a family only sizes and weights are read."""

import difflib
import fnmatch
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

Kind = Literal["tokenizer", "generator"]
Modality = Literal["image", "video", "3d"]
TokenType = Literal["discrete", "continuous"]

FAMILIES = {  # modules with ARCHITECTURES, and what their authors call these
    "tokzoo.tokenizers.alit.weights": "ALIT",
    "tokzoo.tokenizers.bae.weights": "BAE",
    "tokzoo.tokenizers.flextok.weights": "FlexTok",
    "tokzoo.tokenizers.flextok_vae.weights": "FlexTok's VAE",
    "tokzoo.tokenizers.diffusers_ae.weights": "diffusers' autoencoder",  # after families that read its config.json too
    "tokzoo.tokenizers.gpstoken.weights": "GPSToken",
    "tokzoo.tokenizers.grid.weights": "grid tokenizer",
    "tokzoo.tokenizers.gst.weights": "GST",
    "tokzoo.tokenizers.ibq.weights": "IBQ",
    "tokzoo.tokenizers.karl.weights": "KARL",
    "tokzoo.tokenizers.kl16_vae.weights": "MAR's KL-16",
    "tokzoo.tokenizers.llamagen_vq.weights": "LlamaGen's VQ",
    "tokzoo.tokenizers.maskgit_vqgan.weights": "MaskGIT's VQGAN",
    "tokzoo.tokenizers.one_d_piece.weights": "One-D-Piece",
    "tokzoo.tokenizers.open_magvit2.weights": "Open-MAGVIT2",
    "tokzoo.tokenizers.open_magvit2_video.weights": "Open-MAGVIT2",
    "tokzoo.tokenizers.post_training.weights": "TokenBridge",
    "tokzoo.tokenizers.robustok.weights": "RobustTok",
    "tokzoo.tokenizers.taesd.weights": "TAESD",
    "tokzoo.tokenizers.tatitok.weights": "TA-TiTok",
    "tokzoo.tokenizers.titok.weights": "TiTok",
    "tokzoo.tokenizers.var_vqvae.weights": "VAR's VQVAE",
    "tokzoo.tokenizers.vqgan.weights": "VQGAN",
    "tokzoo.tokenizers.wetok.weights": "WeTok",
    "tokzoo.tokenizers.xqgan.weights": "XQ-GAN",
    "tokzoo.generators.gpt.weights": "LlamaGen",
    "tokzoo.generators.gpstoken.weights": "GPSToken's SiT",
    "tokzoo.generators.ibq.weights": "IBQ",
    "tokzoo.generators.mar.weights": "MAR",
    "tokzoo.generators.maskgen.weights": "MaskGen",
    "tokzoo.generators.maskgit.weights": "MaskGIT",
    "tokzoo.generators.open_magvit2.weights": "Open-MAGVIT2",
    "tokzoo.generators.on_codes.weights": "LlamaGen",
    "tokzoo.generators.rar.weights": "RAR",
    "tokzoo.generators.tokenbridge.weights": "TokenBridge",
    "tokzoo.generators.var.weights": "VAR",
}
FREE_LICENCES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number as its source gives it. `protocol` says against what and how it was measured."""

    metric: str
    value: float
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place on the hub: the first of `files` that `repo` holds is the one. `sha256` of those where it is known."""

    repo: str
    files: tuple[str, ...]
    revision: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ManualSource:
    """A file behind a link that only a browser follows: the user fetches it and gives its path.

    `other_half` lies beside it where the file is the encoder's alone: it is the decoder's, and neither says of its keys
    which half they are of.
    """

    file: str
    url: str
    other_half: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One set of weights of an architecture.

    Args:
        tag: what follows the dot in the full name: the training data.
        sources: where the authors publish the file, tried in order; empty if it ships with the package.
        manual: the file, where no client can fetch it.
        code_licence, licence: SPDX identifiers of the authors' code and of the weights.
        scores: as published, or measured by us for shipped weights.
        checked: `manifest`: names and shapes of the full state dict; `weights`: the real file was loaded and scored;
            `config`: no more than that the registered sizes build and have the published number of parameters.
        note: what a user should know before citing or using it.
        tokenizer: full name of the tokenizer of which a generator makes the tokens.
        sampling: what a generator's `sample` was published with; guidance as u + s (c - u).
    """

    tag: str
    sources: tuple[Source, ...] = ()
    manual: ManualSource | None = None
    tokenizer: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    code_licence: str
    licence: str
    scores: tuple[Score, ...] = ()
    checked: Literal["config", "manifest", "weights"]
    note: str = ""

    @property
    def shipped(self) -> bool:
        """Whether the weights travel with the package."""
        return not self.sources and self.manual is None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One registered model: its class, its sizes, its weights.

    Args:
        name: unique; a dot and a tag of `weights` make a full name.
        model: `module:Class`, built as Class(config).
        config: frozen dataclass.
        convert: `module:function` from a published state dict and the config to ours.
        read_config: `module:function` from the authors' config.json to a config, or None if it is no config of theirs.
        config_in_metadata: whether the authors' safetensors tell the config in their metadata, which then is believed.
        averaged: the entry of the authors' pickles that holds the moving average of the weights, which they evaluate.
        golden: `module:function` from a golden case of the family to our numbers under its names.
        paper: arXiv id.
        published_as: how its authors spell it; left empty, as the family in `FAMILIES`.
    """

    name: str
    family: str
    model: str
    config: Any
    token_type: TokenType
    paper: str
    kind: Kind = "tokenizer"
    modality: Modality = "image"
    convert: str | None = None
    read_config: str | None = None
    config_in_metadata: bool = False
    averaged: str | None = None
    golden: str | None = None
    published_as: str = ""
    weights: tuple[Weights, ...] = ()

    def full_name(self, weights: Weights) -> str:
        """`name.tag`."""
        return f"{self.name}.{weights.tag}"


_registered: dict[str, Architecture] = {}
_families_read: set[str] = set()


def register_architecture(architecture: Architecture) -> None:
    """Adds a model to the registry.

    Raises:
        ValueError: the name is taken, or holds a dot.
    """
    if "." in architecture.name:
        raise ValueError(
            f"an architecture's name holds no dot (it parts the name from the tag); got {architecture.name!r}"
        )
    if architecture.name in _registered:
        raise ValueError(f"{architecture.name!r} is registered already; choose another name")
    _registered[architecture.name] = architecture


def register_tokenizer(
    name: str,
    tokenizer: Callable[[Any], Any],
    config: Any,
    *,
    token_type: TokenType = "discrete",  # noqa: S107
    modality: Modality = "image",
    paper: str = "",
) -> None:
    """Adds a tokenizer of one's own: from then on it is created, trained, saved and loaded by `name`.

    Args:
        tokenizer: a `VisualTokenizer` at the top of a module, built as tokenizer(config).
        config: frozen dataclass of its default sizes.

    A saved model holds the name alone: whoever loads it registers the class first.

    Raises:
        ValueError: the name is taken, or the class is not at the top of a module.
    """
    register_architecture(
        Architecture(
            name=name,
            family=name,
            model=reference_of(tokenizer),
            config=config,
            token_type=token_type,
            modality=modality,
            paper=paper,
            published_as=getattr(tokenizer, "__name__", name),
        )
    )


def architectures() -> dict[str, Architecture]:
    """Every registered model by name."""
    for module, spelling in FAMILIES.items():
        if module not in _families_read:
            _families_read.add(module)
            for architecture in importlib.import_module(module).ARCHITECTURES:
                register_architecture(replace(architecture, published_as=architecture.published_as or spelling))
    return dict(_registered)


def find(name: str) -> tuple[Architecture, Weights | None]:
    """The model of `name`, and the weights of its tag; without a tag the first weights, if there are any.

    Raises:
        KeyError: no such model or tag; the message names the nearest ones.
    """
    known = architectures()
    stem, _, tag = name.partition(".")
    if stem not in known:
        near = difflib.get_close_matches(stem, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "tokzoo.list_models() names all."
        raise KeyError(f"no model is called {stem!r}; {hint}")
    architecture = known[stem]
    if not tag:
        return architecture, next(iter(architecture.weights), None)
    for weights in architecture.weights:
        if weights.tag == tag:
            return architecture, weights
    tags = ", ".join(architecture.full_name(weights) for weights in architecture.weights) or "none"
    raise KeyError(f"{stem!r} has no weights {tag!r}; there are: {tags}")


def list_models(
    pattern: str = "*",
    *,
    pretrained: bool = False,
    kind: Kind | None = None,
    modality: Modality | None = None,
    token_type: TokenType | None = None,
    licence: str | None = None,
) -> list[str]:
    """Names of registered models in natural order (s, 2, 10).

    Args:
        pattern: shell wildcard over the name; it may reach into the tag (`*.in1k`).
        pretrained: full names of weights instead of names of architectures.
        licence: SPDX identifier that the weights must have.
    """
    names = []
    for architecture, weights in _entries(pretrained or licence is not None):
        wanted = (
            kind in (None, architecture.kind)
            and modality in (None, architecture.modality)
            and token_type in (None, architecture.token_type)
            and (licence is None or (weights is not None and weights.licence.lower() == licence.lower()))
        )
        name = architecture.name if weights is None else architecture.full_name(weights)
        if wanted and (fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(architecture.name, pattern)):
            names.append(name)
    return sorted(names, key=_natural)


def _entries(by_weights: bool) -> Iterator[tuple[Architecture, Weights | None]]:
    for architecture in architectures().values():
        yield from ((architecture, weights) for weights in (architecture.weights if by_weights else (None,)))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def load_object(reference: str) -> Callable[..., Any]:
    """What `module:name` names; imports the module."""
    module, _, name = reference.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return loaded


def reference_of(loaded: Callable[..., Any]) -> str:
    """`module:name` of a class or function; the way back of `load_object`.

    Raises:
        ValueError: it is not at the top of a module, so that no name finds it.
    """
    reference = f"{loaded.__module__}:{loaded.__qualname__}"
    if "." in loaded.__qualname__ or load_object(reference) is not loaded:
        raise ValueError(f"{reference} must be a class or function at the top of a module, so that its name finds it")
    return reference


# --- configs as data -------------------------------------------------------------------------------------------------


def override(config: Any, changes: dict[str, Any]) -> Any:
    """`config` with some fields changed; nested configs take dicts.

    Raises:
        TypeError: a field that the config lacks; the message lists those it has.
    """
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise TypeError(f"{type(config).__name__} has no field {', '.join(unknown)}; it has {', '.join(known)}")
    values = {
        name: override(known[name], value)
        if is_dataclass(known[name]) and isinstance(value, dict)
        else as_tuples(value)
        for name, value in changes.items()
    }
    return replace(config, **values)


def as_tuples(value: Any) -> Any:
    """JSON and YAML have lists where configs have tuples."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value
