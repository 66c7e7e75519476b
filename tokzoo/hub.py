"""Find, download, convert, check, save, push. Loading is strict: a state dict fits whole, or nothing is loaded."""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tokzoo import _state, registry
from tokzoo._files import replace_atomically, write_atomically
from tokzoo.registry import Architecture, Weights

if TYPE_CHECKING:
    import torch

    from tokzoo.tokenizers.base import VisualTokenizer

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
CANDIDATES = (WEIGHTS, "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
FORMAT = "tokzoo"  # marks a config.json of ours
Part = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Found:
    """A model's sizes and where its weights lie. `ours`: saved by `save_pretrained`, so no key rules apply."""

    architecture: Architecture
    name: str
    config: Any
    file: Path
    ours: bool


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
    **overrides: Any,
) -> "VisualTokenizer":
    """An untrained model by its registered name, any field of its config overridden; or, `pretrained`, with weights.

    Raises:
        KeyError: no such model. TypeError: no such field.
    """
    architecture, weights = registry.find(name)
    if pretrained:
        return from_pretrained(name, device=device, dtype=dtype, **overrides)
    model = _build(architecture, registry.override(architecture.config, overrides))
    model.name = architecture.full_name(weights) if "." in name and weights else architecture.name
    return model.to(device=device, dtype=dtype)


def from_pretrained(
    name: str | Path,
    *,
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
        revision, cache_dir, local_files_only, token: as in `huggingface_hub.hf_hub_download`.
        subfolder: of the repository or folder.
        part: load one half only; the quantizer belongs to both.
        overrides: fields of the config.

    Raises:
        KeyError: an unknown name, or checkpoint keys that no rule reads.
        FileNotFoundError: the weights are nowhere; the message names the files looked for.
        ValueError: a broken file, or a state dict that does not fit: all that is missing, unexpected or of another
            shape is named, up to ten of each.
    """
    download = dict(revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token)
    found = _locate(str(name), subfolder, download)
    config = registry.override(found.config, overrides)
    model = _build(found.architecture, config, empty=True)
    if part is not None:
        model.keep_part(part)
    load_weights(model, found.file, converted=found.ours, architecture=found.architecture)
    model.name = found.name
    return model.to(device=device, dtype=dtype).eval()


def load_weights(
    model: "VisualTokenizer", file: str | Path, *, converted: bool = False, architecture: Architecture | None = None
) -> None:
    """Loads a published weights file into `model`, whole or not at all.

    Args:
        converted: the file has our key names already (`save_pretrained`).
        architecture: whose key rules to use; by default that of `model.name`.
    """
    import torch

    state: Mapping[str, Any] = _state.read_state(Path(file))
    if not converted:
        architecture = architecture or _architecture_of(model)
        if architecture.convert is not None:
            state = registry.load_object(architecture.convert)(state, model.config)
    halves = [f"{half}." for half in ("encoder", "decoder") if getattr(model, half) is None]
    kept = {key: value for key, value in state.items() if not key.startswith(tuple(halves))}
    own = model.state_dict()
    _state.check_fit(own, kept, str(file))
    upcast = {key: value.to(torch.float32) if value.is_floating_point() else value for key, value in kept.items()}
    model.load_state_dict(upcast, strict=True, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def save_pretrained(model: "VisualTokenizer", folder: str | Path, *, dtype: "torch.dtype | None" = None) -> Path:
    """Writes config.json and model.safetensors into `folder`, each atomically. `dtype` casts floating-point weights."""
    from safetensors.torch import save_file

    if model.encoder is None or model.decoder is None:
        raise ValueError("this model was loaded by halves; only a whole one can be saved")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cast = dtype or model.dtype
    state = {
        key: (value.to(cast) if value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in model.state_dict().items()
    }
    with replace_atomically(folder / WEIGHTS) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    described = {
        "format": FORMAT,
        "version": _version(),
        "architecture": _architecture_of(model).name,
        "name": model.name,
        "config": asdict(model.config),
    }
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
    dtype: "torch.dtype | None" = None,
) -> str:
    """Creates `repo` where needed and uploads config, weights and a model card; returns the commit's address."""
    import tempfile

    from huggingface_hub import HfApi

    api = HfApi(token=token)
    api.create_repo(repo, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, dtype=dtype)
        write_atomically(Path(folder) / CARD, card or model_card(model, repo))
        commit = api.upload_folder(repo_id=repo, folder_path=folder, revision=revision, commit_message=commit_message)
    return str(commit.commit_url)


def model_card(model: "VisualTokenizer", repo: str) -> str:
    """A short README for a pushed model; edit it before others read it."""
    spec = model.token_spec
    tokens = f"{spec.layout}, " + ("continuous" if spec.levels is None else f"levels {spec.levels}")
    return (
        f"---\nlibrary_name: tokzoo\ntags: [visual-tokenizer]\n---\n\n# {repo}\n\n"
        f"{type(model).__name__} ({_architecture_of(model).name}): {tokens}.\n\n"
        f'```python\nimport tokzoo\n\ntok = tokzoo.from_pretrained("{repo}")\n'
        "tokens = tok.encode(tok.preprocess(photo))\nimages = tok.decode(tokens)\n```\n"
    )


# --- finding ---------------------------------------------------------------------------------------------------------


def _locate(name: str, subfolder: str | None, download: Mapping[str, Any]) -> Found:
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(path / subfolder if subfolder else path, name)
    if path.is_file():
        return _in_folder(path.parent, name, file=path)
    if name.startswith("hf-hub:") or "/" in name:
        repo = name.removeprefix("hf-hub:")
        if path.is_absolute() or repo.count("/") != 1:
            raise FileNotFoundError(f"{name} is neither a folder, a file nor a hub repository (owner/name)")
        return _on_hub(repo, subfolder, download)
    return _registered(name, download)


def _registered(name: str, download: Mapping[str, Any]) -> Found:
    architecture, weights = registry.find(name)
    if weights is None:
        raise KeyError(f"{name!r} has no weights; tokzoo.create_model({name!r}) makes an untrained one")
    full_name = architecture.full_name(weights)
    if weights.shipped:
        return _in_folder(data_folder("checkpoints") / full_name, full_name)
    _warn_of_licence(full_name, weights)
    tried = []
    for source in weights.sources:
        wanted = {**download, "revision": download.get("revision") or source.revision}
        for filename in source.files:
            file = _fetch(source.repo, filename, wanted)
            if file is not None:
                _state.check_hash(file, weights.sha256)
                return Found(architecture, full_name, architecture.config, file, ours=False)
            tried.append(f"{source.repo}: {filename}")
    where = (
        "in the cache (local_files_only or HF_HUB_OFFLINE is set)" if download.get("local_files_only") else "on the hub"
    )
    raise FileNotFoundError(f"no weights of {full_name} {where}. Looked for " + "; ".join(tried))


def _on_hub(repo: str, subfolder: str | None, download: Mapping[str, Any]) -> Found:
    prefix = f"{subfolder}/" if subfolder else ""
    config = _fetch(repo, prefix + CONFIG, download)
    if config is None:
        raise FileNotFoundError(f"{repo} holds no {prefix}{CONFIG}: tokzoo cannot tell what model it is")
    for filename in CANDIDATES:
        file = _fetch(repo, prefix + filename, download)
        if file is not None:
            return _described(config, file, repo)
    raise FileNotFoundError(f"{repo} holds none of {', '.join(prefix + candidate for candidate in CANDIDATES)}")


def _in_folder(folder: Path, name: str, *, file: Path | None = None) -> Found:
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG}. For bare weights of a registered model: "
            "model = tokzoo.create_model(name); tokzoo.load_weights(model, file)"
        )
    file = file or next((folder / candidate for candidate in CANDIDATES if (folder / candidate).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(CANDIDATES)}")
    return _described(folder / CONFIG, file, name)


def _described(config_file: Path, file: Path, name: str) -> Found:
    """A model by its config.json: ours, or one that a family knows as its authors'."""
    try:
        described = json.loads(config_file.read_text())
    except ValueError as error:
        raise ValueError(f"{config_file} is not JSON: {error}") from error
    if isinstance(described, dict) and described.get("format") == FORMAT:
        architecture = registry.find(described["architecture"])[0]
        config = registry.override(architecture.config, described["config"])
        return Found(architecture, described.get("name") or name, config, file, ours=True)
    for architecture in registry.architectures().values():
        if architecture.read_config is not None and isinstance(described, dict):
            config = registry.load_object(architecture.read_config)(described)
            if config is not None:
                return Found(architecture, name, config, file, ours=False)
    raise ValueError(f"{config_file} is neither tokzoo's nor that of a published model that tokzoo knows")


def _fetch(repo: str, filename: str, download: Mapping[str, Any]) -> Path | None:
    """The cached or downloaded file; None where the repository (or, offline, the cache) lacks it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(repo, filename, **download))
    except LocalEntryNotFoundError as error:
        if download.get("local_files_only"):
            return None
        raise ConnectionError(f"the hub could not be reached for {repo}: {filename}, and the cache lacks it") from error
    except (EntryNotFoundError, RepositoryNotFoundError) as error:
        logger.debug("%s: %s: %s", repo, filename, error)
        return None


def data_folder(name: Literal["checkpoints"]) -> Path:
    """A folder that travels with the package: in the wheel under tokzoo/_data, in a checkout beside tokzoo/."""
    package = Path(__file__).parent
    for folder in (package / "_data" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of tokzoo lacks its {name} folder; reinstall it")


_warned: set[str] = set()


def _warn_of_licence(full_name: str, weights: Weights) -> None:
    if weights.licence.lower() not in registry.FREE_LICENCES and full_name not in _warned:
        _warned.add(full_name)
        warnings.warn(f"the weights {full_name} are under {weights.licence}: mind its terms", stacklevel=4)


# --- building -------------------------------------------------------------------------------------------------------


def _build(architecture: Architecture, config: Any, *, empty: bool = False) -> "VisualTokenizer":
    build = registry.load_object(architecture.model)
    if empty:
        with _state.without_parameters():
            model: VisualTokenizer = build(config)
    else:
        model = build(config)
    return model


def _architecture_of(model: "VisualTokenizer") -> Architecture:
    """The registered architecture a model was made from: by its name, else by its class."""
    known = registry.architectures()
    stem = (model.name or "").partition(".")[0]
    if stem in known:
        return known[stem]
    wanted = f"{type(model).__module__}:{type(model).__qualname__}"
    for architecture in known.values():
        if architecture.model == wanted:
            return architecture
    raise KeyError(f"{wanted} is not registered; tokzoo.register_architecture makes it so")


def _version() -> str:
    try:
        return version("tokzoo")
    except PackageNotFoundError:
        return "unknown"
