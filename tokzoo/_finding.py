"""Where a model's files lie: by a registered name, a hub repository, a folder or a file. Nothing is loaded here."""

import ast
import contextlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tokzoo import _files, registry
from tokzoo._fetch import Download, Wanted, fetch
from tokzoo._files import check_hash
from tokzoo.registry import Architecture, Weights

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
CANDIDATES = (WEIGHTS, "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
FORMAT = "tokzoo"  # marks a config.json of ours
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")  # a name that ends so is a file's
PAIRING = ("tokenizer", "classes", "sampling")  # what a generator knows beside its sizes


@dataclass(frozen=True)
class Found:
    """A model's sizes and where its files lie.

    Args:
        name: full registered name, if known.
        config: the architecture's dataclass.
        file: of the weights.
        ours: saved by `save_pretrained`, so no key rules apply.
        config_file: config.json, where there is one.
        other_half: the decoder's file, where `file` is the encoder's alone.
        base: the tokenizer that the model stands on, whose weights `file` leaves out.
        pairing: of a generator: its tokenizer, the names of its classes, and how it samples.
    """

    architecture: Architecture
    name: str | None
    config: Any
    file: Path
    ours: bool
    config_file: Path | None = None
    other_half: Path | None = None
    base: "Found | None" = None
    pairing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """All that an offline machine needs."""
        own = [file for file in (self.config_file, self.file, self.other_half) if file is not None]
        return own if self.base is None else [*own, *self.base.files]


def locate(name: str | Path, subfolder: str | None, options: Download) -> Found:
    """Whatever `tokzoo.from_pretrained` takes as a name; files of the hub are fetched."""
    path, text = Path(name).expanduser(), str(name)
    if path.is_dir():
        return _in_folder(path / (subfolder or ""), options)
    if path.is_file():
        return _in_folder(path.parent, options, file=path)
    repo = text.removeprefix("hf-hub:")
    on_hub = repo != text or "/" in text
    local = (
        isinstance(name, Path) or path.is_absolute() or text.startswith(("~", ".")) or path.suffix in WEIGHTS_SUFFIXES
    )
    if local or (on_hub and repo.count("/") != 1):
        raise FileNotFoundError(f"{name} is neither a folder, a file nor a hub repository (owner/name)")
    return _on_hub(repo, subfolder, options) if on_hub else registered(text, options)


def _with_weights(name: str) -> tuple[Architecture, Weights]:
    architecture, weights = registry.find(name)
    if weights is None:
        raise KeyError(f"{name!r} has no weights; tokzoo.create_model({name!r}) makes an untrained one")
    return architecture, weights


def registered(name: str, options: Download) -> Found:
    """The weights of a registered name: shipped, in the cache, or fetched from the hub."""
    architecture, weights = _with_weights(name)
    full_name = architecture.full_name(weights)
    _warn_of_licence(full_name, weights)
    if weights.shipped:
        return _in_folder(_files.data_folder("checkpoints") / full_name, options)
    if weights.manual is not None:
        raise FileNotFoundError(
            f"the weights {full_name} are behind a link that only a browser follows: fetch {weights.manual.file} from "
            f'{weights.manual.url}, then tokzoo.from_pretrained("{full_name}", file=PATH) with the path of it'
        )
    file = fetch(
        [
            Wanted(source.repo, filename, options.revision or source.revision, source.sha256.get(filename))
            for source in weights.sources
            for filename in source.files
        ],
        options,
        missing=f"no weights of {full_name}",
        name=full_name,
        by_hand=f'and load it: tokzoo.from_pretrained("{full_name}", file=PATH)',
    )
    return Found(
        architecture, full_name, told(architecture, file), file, ours=False, pairing=_pairing(architecture, weights)
    )


def _pairing(architecture: Architecture, weights: Weights) -> dict[str, Any]:
    if architecture.kind != "generator":
        return {}
    return {"tokenizer": weights.tokenizer, "sampling": dict(weights.sampling)}


def given(name: str, path: Path) -> Found:
    """The published weights of a registered name, at `path` or in that folder."""
    architecture, weights = _with_weights(name)
    named = [filename for source in weights.sources for filename in source.files]
    named += [] if weights.manual is None else [weights.manual.file]
    looked = [path / filename for filename in named] if path.is_dir() else [path]
    file = next((candidate for candidate in looked if candidate.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"no weights of {architecture.full_name(weights)} at {' or '.join(map(str, looked))}")
    other_half = None
    if weights.manual is not None:
        check_hash(file, weights.manual.sha256.get(file.name))
        if weights.manual.other_half is not None:
            other_half = file.parent / weights.manual.other_half
            if not other_half.is_file():
                raise FileNotFoundError(f"{file} is the encoder alone; the decoder must lie beside it: {other_half}")
            check_hash(other_half, weights.manual.sha256.get(other_half.name))
    for source in weights.sources:
        check_hash(file, source.sha256.get(file.name))
    full_name = architecture.full_name(weights)
    _warn_of_licence(full_name, weights)
    return Found(
        architecture,
        full_name,
        told(architecture, file),
        file,
        ours=False,
        other_half=other_half,
        pairing=_pairing(architecture, weights),
    )


def _on_hub(repo: str, subfolder: str | None, options: Download) -> Found:
    folder = f"{subfolder}/" if subfolder else ""

    def first(filenames: Iterable[str], revision: str | None, missing: str) -> Path:
        wanted = [Wanted(repo, folder + filename, revision) for filename in filenames]
        by_hand = f"and put {CONFIG} and the weights into one folder, whose path from_pretrained takes as well."
        return fetch(wanted, options, missing=missing, name=repo, by_hand=by_hand)

    missing = f"{repo} could not be had from the hub, and is no folder here"
    config = first([CONFIG], options.revision, missing)
    commit = config.parents[folder.count("/")].name  # the weights come from it too, though the branch may move
    return _described(config, first(CANDIDATES, commit, f"no weights in {repo}"), options)


def _in_folder(folder: Path, options: Download, *, file: Path | None = None) -> Found:
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG}. Bare weights of a registered model: tokzoo.from_pretrained(NAME, file=PATH)"
        )
    file = file or next((folder / candidate for candidate in CANDIDATES if (folder / candidate).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(CANDIDATES)}")
    return _described(folder / CONFIG, file, options)


def _described(config_file: Path, file: Path, options: Download) -> Found:
    """A model by its config.json: ours, or one that a family knows as its authors'."""
    try:
        described = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config_file} is not JSON: {error}") from error
    if not isinstance(described, dict):
        raise ValueError(f"{config_file} holds a {type(described).__name__}, not the fields of a model")
    known = registry.architectures()
    if described.get("format") == FORMAT:
        name, fields = described.get("architecture"), described.get("config")
        if name not in known or not isinstance(fields, dict):
            raise ValueError(
                f"{config_file} is of the architecture {name!r}, which tokzoo {own_version()} does not know"
            )
        config = registry.override(known[name].config, fields)
        pairing = {key: registry.as_tuples(described[key]) for key in PAIRING if key in described}
        return Found(
            known[name],
            described.get("name"),
            config,
            file,
            ours=True,
            config_file=config_file,
            base=_base(described["base"], config_file, options) if "base" in described else None,
            pairing=pairing,
        )
    for architecture in known.values():
        config = _read_published(architecture, described)
        if config is not None:
            return Found(architecture, None, config, file, ours=False, config_file=config_file)
    raise ValueError(
        f"{config_file} is neither tokzoo's nor that of a published model that tokzoo knows. Bare weights of a "
        "registered model: tokzoo.from_pretrained(NAME, file=PATH)"
    )


def _base(described: Any, config_file: Path, options: Download) -> Found:
    """What a model of ours stands on: registered weights alone, so that no config reaches for other files."""
    name, sha256 = (described.get(key) if isinstance(described, dict) else None for key in ("name", "sha256"))
    if not isinstance(name, str) or not isinstance(sha256, str) or registry.find(name)[1] is None:
        raise ValueError(f"{config_file} must name registered weights and their sha256 as its base; got {described!r}")
    found = registered(name, replace(options, revision=None))
    check_hash(found.file, sha256)
    return found


def _read_published(architecture: Architecture, described: Mapping[str, Any]) -> Any:
    """The sizes in an authors' config, or None if it is not of this family."""
    if architecture.read_config is None:
        return None
    try:
        return registry.load_object(architecture.read_config)(described)
    except (AttributeError, KeyError, TypeError):  # another family's fields under the same names
        return None


def told(architecture: Architecture, file: Path) -> Any:
    """The config that the authors' safetensors tell in their metadata, where they do so; else the registered one.

    It is read as data, literals only: what it names is neither imported nor called.
    """
    if not architecture.config_in_metadata or file.suffix != ".safetensors":
        return architecture.config
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError:  # whoever reads the weights says so
        return architecture.config
    described = {}
    for key, value in metadata.items():
        with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            described[key] = ast.literal_eval(value)
    config = _read_published(architecture, described)
    if config is None:
        warnings.warn(
            f"{file.name} tells no config of {architecture.name} in its metadata: the registered sizes are taken, and "
            "what only the file can tell (the scale of latents) is a guess",
            stacklevel=4,
        )
    return architecture.config if config is None else config


_warned: set[str] = set()


def _warn_of_licence(full_name: str, weights: Weights) -> None:
    if weights.licence.lower() not in registry.FREE_LICENCES and full_name not in _warned:
        _warned.add(full_name)
        warnings.warn(f"the weights {full_name} are under {weights.licence}: mind its terms", stacklevel=5)


def own_version() -> str:
    try:
        return version("tokzoo")
    except PackageNotFoundError:
        return "unknown"
