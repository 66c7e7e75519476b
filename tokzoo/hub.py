"""Find, download, convert, check, save, push. Loading is strict: a state dict fits whole, or nothing is loaded."""

import ast
import contextlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tokzoo import registry
from tokzoo._fetch import Download, Wanted, fetch, transport_error
from tokzoo._files import check_hash, replace_atomically, write_atomically
from tokzoo.registry import Architecture, Weights

if TYPE_CHECKING:
    import torch

    from tokzoo.tokenizers.base import VisualTokenizer

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
CANDIDATES = (WEIGHTS, "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
FORMAT = "tokzoo"  # marks a config.json of ours
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")  # a name that ends so is a file's
Part = Literal["encoder", "decoder"]
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
        pairing: of a generator: its tokenizer, the names of its classes, and how it samples.
    """

    architecture: Architecture
    name: str | None
    config: Any
    file: Path
    ours: bool
    config_file: Path | None = None
    other_half: Path | None = None
    pairing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """All that an offline machine needs."""
        return [file for file in (self.config_file, self.file, self.other_half) if file is not None]


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
    tokenizer: "VisualTokenizer | None" = None,
    **overrides: Any,
) -> Any:
    """An untrained model by its registered name, any field of its config overridden; or, `pretrained`, with weights.

    Args:
        tokenizer: for a generator: of which tokenizer it is to make the tokens.

    Raises:
        KeyError: no such model. TypeError: no such field. ValueError: tokens that the generator cannot make.
    """
    architecture, weights = registry.find(name)
    if tokenizer is not None:
        if architecture.kind != "generator" or pretrained:
            raise ValueError(
                f"tokenizer= is for untrained generators; {name} is {'pretrained' if pretrained else 'none'}"
            )
        overrides = registry.load_object(architecture.model).fields_for(tokenizer.token_spec) | overrides  # type: ignore[attr-defined]
    if pretrained:
        return from_pretrained(name, device=device, dtype=dtype, **overrides)
    model: Any = _build(architecture, registry.override(architecture.config, overrides))
    model.name = architecture.full_name(weights) if "." in name and weights else architecture.name
    if tokenizer is not None:
        model.read_tokenizer(tokenizer)
    return model.to(device=device, dtype=dtype)


def from_pretrained(
    name: str | Path,
    *,
    file: str | Path | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
    part: Part | None = None,
    **overrides: Any,
) -> "VisualTokenizer":
    """A model with its weights, in eval mode, float32 unless `dtype` says otherwise.

    Args:
        name: a registered name (`titok_l32.in1k`), a hub repository (`owner/name`, `hf-hub:owner/name`), a folder that
            `save_pretrained` wrote or that holds an author's config.json, or a weights file with config.json beside it.
        file: the published weights of a registered name, where they lie here already, or the folder they lie in. Some
            are behind links that only a browser follows: they load no other way.
        revision, cache_dir, local_files_only, token: as in `huggingface_hub.hf_hub_download`.
        subfolder: of the repository or folder.
        part: load one half only, and read no more of the file; the quantizer belongs to both.
        overrides: fields of the config.

    Raises:
        KeyError: an unknown name, or checkpoint keys that no rule reads.
        FileNotFoundError: the weights are nowhere; the message names the files looked for.
        ConnectionError: the hub could not be reached and the cache has none of them; the message says how to bring
            them here. PermissionError: the hub has them, but not for this token.
        ValueError: a broken file, one of another hash than recorded, or a state dict that does not fit: all that is
            missing, unexpected or of another shape is named, up to ten of each.
    """
    if part not in (None, *get_args(Part)):
        raise ValueError(f"part must be one of {', '.join(get_args(Part))}, or None for the whole; got {part!r}")
    options = Download(revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token)
    found = _locate(name, subfolder, options) if file is None else _given(str(name), Path(file).expanduser())
    config = registry.override(found.config, overrides)
    model = _build(found.architecture, config, empty=True)
    if part is not None:
        if found.architecture.kind == "generator":
            raise ValueError(f"{name} is a generator: it has no {part}; load it whole")
        model.keep_part(part)
    load_weights(model, found.file, converted=found.ours, architecture=found.architecture, other_half=found.other_half)
    model.name = found.name
    for key, value in found.pairing.items():
        setattr(model, key, value)
    return model.to(device=device, dtype=dtype).eval()


def download(
    name: str | Path,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    force: bool = False,
) -> list[Path]:
    """Fetches what `from_pretrained` with the same arguments loads, and loads nothing; the files, where they lie.

    Args:
        force: fetch again what the cache has: the way out when a file there is broken.

    Raises:
        As `from_pretrained`, but for the content of the weights.
    """
    options = Download(
        revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token, force=force
    )
    return _locate(name, subfolder, options).files


def load_weights(
    model: "VisualTokenizer",
    file: str | Path,
    *,
    converted: bool = False,
    architecture: Architecture | None = None,
    other_half: str | Path | None = None,
) -> None:
    """Loads a published weights file into `model`, whole or not at all; its dtype and device stay as they are.

    Args:
        converted: the file has our key names already (`save_pretrained`).
        architecture: whose key rules to use; by default that of `model.name`.
        other_half: the decoder's file, where `file` is the encoder's alone.
    """
    import torch

    from tokzoo import _state

    state: Mapping[str, Any] = _state.read_state(Path(file))  # mapped, so that what is not kept is never read
    if other_half is not None:
        halves_read = {"encoder": state, "decoder": _state.read_state(Path(other_half))}
        state = {f"{half}.{key}": value for half, read in halves_read.items() for key, value in read.items()}
    if not converted:
        architecture = architecture or architecture_of(model)
        if architecture.convert is not None:
            try:
                state = registry.load_object(architecture.convert)(state, model.config)
            except KeyError as error:
                raise KeyError(f"{file} is not as its authors publish {architecture.name}: {error.args[0]}") from error
    halves = [
        f"{half}." for half in ("encoder", "decoder") if getattr(model, half, model) is None
    ]  # a generator has none
    kept = {key: value for key, value in state.items() if not key.startswith(tuple(halves))}
    own = model.state_dict()
    _state.check_fit(own, kept, str(file))
    upcast = {key: value.to(torch.float32) if value.is_floating_point() else value for key, value in kept.items()}
    model.load_state_dict(upcast, strict=True, assign=any(value.is_meta for value in own.values()))


def save_pretrained(model: "VisualTokenizer", folder: str | Path, *, dtype: "torch.dtype | None" = None) -> Path:
    """Writes config.json and model.safetensors into `folder`, each atomically. `dtype` casts what is floating-point."""
    from safetensors.torch import save_file

    if any(getattr(model, half, model) is None for half in get_args(Part)):
        raise ValueError("this model was loaded by halves; only a whole one can be saved")
    state = {
        key: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in model.state_dict().items()
    }
    described = {
        "format": FORMAT,
        "version": _version(),
        "architecture": architecture_of(model).name,
        "name": model.name,
        "config": asdict(model.config),
        **{name: getattr(model, name) for name in PAIRING if hasattr(model, name)},
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replace_atomically(folder / WEIGHTS) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    write_atomically(folder / CONFIG, json.dumps(described, indent=2) + "\n")
    return folder


def push_to_hub(
    model: "VisualTokenizer",
    repo: str,
    *,
    token: str | bool | None = None,
    private: bool = False,
    revision: str | None = None,
    commit_message: str = "Upload with tokzoo",
    card: str | None = None,
    licence: str | None = None,
    dtype: "torch.dtype | None" = None,
) -> str:
    """Creates `repo` (and the branch `revision`) where needed, uploads config, weights and a model card.

    Args:
        card: the README.md; by default that of `tokzoo.about.model_card`.
        licence: SPDX identifier; by default that of the registered weights that the model's name says.

    Returns:
        The commit's address.

    Raises:
        PermissionError: no token, or one that may not write there. ConnectionError: the hub cannot be reached.
    """
    import tempfile

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from tokzoo.about import model_card

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, dtype=dtype)
        write_atomically(Path(folder) / CARD, card or model_card(model, repo, licence=licence))
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo, folder_path=folder, revision=revision, commit_message=commit_message
            )
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in (401, 403):
                raise
            raise PermissionError(
                f"the hub answered {error.response.status_code}: this token may not write to {repo}. "
                "Pass one that may as token=, or run `hf auth login`"
            ) from error
        except transport_error() as error:
            raise ConnectionError(f"the connection to the hub failed, try again: {error}") from error
    return str(commit.commit_url)


# --- finding ---------------------------------------------------------------------------------------------------------


def _locate(name: str | Path, subfolder: str | None, options: Download) -> Found:
    path, text = Path(name).expanduser(), str(name)
    if path.is_dir():
        return _in_folder(path / (subfolder or ""))
    if path.is_file():
        return _in_folder(path.parent, file=path)
    repo = text.removeprefix("hf-hub:")
    on_hub = repo != text or "/" in text
    local = (
        isinstance(name, Path) or path.is_absolute() or text.startswith(("~", ".")) or path.suffix in WEIGHTS_SUFFIXES
    )
    if local or (on_hub and repo.count("/") != 1):
        raise FileNotFoundError(f"{name} is neither a folder, a file nor a hub repository (owner/name)")
    return _on_hub(repo, subfolder, options) if on_hub else _registered(text, options)


def _registered(name: str, options: Download) -> Found:
    architecture, weights = registry.find(name)
    if weights is None:
        raise KeyError(f"{name!r} has no weights; tokzoo.create_model({name!r}) makes an untrained one")
    full_name = architecture.full_name(weights)
    _warn_of_licence(full_name, weights)
    if weights.shipped:
        return _in_folder(data_folder("checkpoints") / full_name)
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
        architecture, full_name, _told(architecture, file), file, ours=False, pairing=_pairing(architecture, weights)
    )


def _pairing(architecture: Architecture, weights: Weights) -> dict[str, Any]:
    if architecture.kind != "generator":
        return {}
    return {"tokenizer": weights.tokenizer, "sampling": dict(weights.sampling)}


def _given(name: str, path: Path) -> Found:
    """The published weights of a registered name, at `path` or in that folder."""
    architecture, weights = registry.find(name)
    if weights is None:
        raise KeyError(f"{name!r} has no weights; tokzoo.create_model({name!r}) makes an untrained one")
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
        _told(architecture, file),
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
    return _described(config, first(CANDIDATES, commit, f"no weights in {repo}"))


def _in_folder(folder: Path, *, file: Path | None = None) -> Found:
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG}. Bare weights of a registered model: tokzoo.from_pretrained(NAME, file=PATH)"
        )
    file = file or next((folder / candidate for candidate in CANDIDATES if (folder / candidate).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(CANDIDATES)}")
    return _described(folder / CONFIG, file)


def _described(config_file: Path, file: Path) -> Found:
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
            raise ValueError(f"{config_file} is of the architecture {name!r}, which tokzoo {_version()} does not know")
        config = registry.override(known[name].config, fields)
        pairing = {key: registry.as_tuples(described[key]) for key in PAIRING if key in described}
        return Found(
            known[name], described.get("name"), config, file, ours=True, config_file=config_file, pairing=pairing
        )
    for architecture in known.values():
        config = _read_published(architecture, described)
        if config is not None:
            return Found(architecture, None, config, file, ours=False, config_file=config_file)
    raise ValueError(
        f"{config_file} is neither tokzoo's nor that of a published model that tokzoo knows. Bare weights of a "
        "registered model: tokzoo.from_pretrained(NAME, file=PATH)"
    )


def _read_published(architecture: Architecture, described: Mapping[str, Any]) -> Any:
    """The sizes in an authors' config, or None if it is not of this family."""
    if architecture.read_config is None:
        return None
    try:
        return registry.load_object(architecture.read_config)(described)
    except (AttributeError, KeyError, TypeError):  # another family's fields under the same names
        return None


def _told(architecture: Architecture, file: Path) -> Any:
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


def data_folder(name: Literal["checkpoints", "golden", "known", "protocols"]) -> Path:
    """A folder that travels with tokzoo: in the wheel under tokzoo/_data, in a checkout beside tokzoo/ or deeper."""
    package = Path(__file__).parent
    checkout = package.parent
    for folder in (
        package / "_data" / name,
        *(above / name for above in (checkout, checkout / "eval", checkout / "tests")),
    ):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of tokzoo lacks its {name} folder; reinstall it")


_warned: set[str] = set()


def _warn_of_licence(full_name: str, weights: Weights) -> None:
    if weights.licence.lower() not in registry.FREE_LICENCES and full_name not in _warned:
        _warned.add(full_name)
        warnings.warn(f"the weights {full_name} are under {weights.licence}: mind its terms", stacklevel=5)


# --- building -------------------------------------------------------------------------------------------------------


def _build(architecture: Architecture, config: Any, *, empty: bool = False) -> "VisualTokenizer":
    from tokzoo import _state

    build = registry.load_object(architecture.model)
    if empty:
        with _state.without_parameters():
            model: VisualTokenizer = build(config)
    else:
        model = build(config)
    return model


def architecture_of(model: Any) -> Architecture:
    """The registered architecture a tokenizer or generator was made from: by its name, else by class and sizes."""
    known = registry.architectures()
    stem = (model.name or "").partition(".")[0]
    if stem in known:
        return known[stem]
    wanted = f"{type(model).__module__}:{type(model).__qualname__}"
    same = [architecture for architecture in known.values() if architecture.model == wanted]
    if not same:
        raise KeyError(f"{wanted} is not registered; tokzoo.register_architecture makes it so")
    return next((architecture for architecture in same if architecture.config == model.config), same[0])


def _version() -> str:
    try:
        return version("tokzoo")
    except PackageNotFoundError:
        return "unknown"
