"""Download, convert, check. Loading is strict: a state dict fits whole, or nothing is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tokzoo import _finding, registry
from tokzoo._fetch import Download
from tokzoo._finding import Found
from tokzoo.registry import Architecture

if TYPE_CHECKING:
    import torch

    from tokzoo.tokenizers.base import VisualTokenizer

Part = Literal["encoder", "decoder"]


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
    found = (
        _finding.locate(name, subfolder, options)
        if file is None
        else _finding.given(str(name), Path(file).expanduser())
    )
    config = registry.override(found.config, overrides)
    model = _build(found.architecture, config, empty=True)
    if part is not None:
        if found.architecture.kind == "generator":
            raise ValueError(f"{name} is a generator: it has no {part}; load it whole")
        model.keep_part(part)
    _load_found(model, found)
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
    return _finding.locate(name, subfolder, options).files


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
    architecture = None if converted else architecture or architecture_of(model)
    _load(model, _read(Path(file), other_half, architecture, model.config), str(file))


def _load_found(model: "VisualTokenizer", found: Found) -> None:
    from tokzoo import _state

    state = read_found(found, model.config)
    if found.base is not None:
        lent = _state.renamed(read_found(found.base, found.base.config), model.base_keys)
        if twice := sorted(set(lent) & set(state)):
            raise ValueError(f"{found.file} holds what its base {found.base.name} is to give: {', '.join(twice[:10])}")
        state = {**state, **lent}
    _load(model, state, str(found.file))


def read_found(found: Found, config: Any) -> Mapping[str, Any]:
    """The tensors of its own files, under our names."""
    return _read(found.file, found.other_half, None if found.ours else found.architecture, config)


def _read(file: Path, other_half: str | Path | None, published: Architecture | None, config: Any) -> Mapping[str, Any]:
    """A file's tensors under our names, by the rules of `published`; mapped, so that what is not kept is never read."""
    from tokzoo import _state

    state: Mapping[str, Any] = _state.read_state(file, None if published is None else published.averaged)
    if other_half is not None:
        halves_read = {"encoder": state, "decoder": _state.read_state(Path(other_half))}
        state = {f"{half}.{key}": value for half, read in halves_read.items() for key, value in read.items()}
    if published is None or published.convert is None:
        return state
    try:
        converted: Mapping[str, Any] = registry.load_object(published.convert)(state, config)
    except KeyError as error:
        raise KeyError(f"{file} is not as its authors publish {published.name}: {error.args[0]}") from error
    return converted


def _load(model: "VisualTokenizer", state: Mapping[str, Any], source: str) -> None:
    """All of `state` but the half that `model` lacks, or, if anything does not fit, nothing."""
    import torch

    from tokzoo import _state

    dropped = tuple(
        f"{half}." for half in get_args(Part) if getattr(model, half, model) is None
    )  # generators have none
    kept = {key: value for key, value in state.items() if not key.startswith(dropped)}
    own = model.state_dict()
    _state.check_fit(own, kept, source)
    upcast = {key: value.to(torch.float32) if value.is_floating_point() else value for key, value in kept.items()}
    model.load_state_dict(upcast, strict=True, assign=any(value.is_meta for value in own.values()))


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
