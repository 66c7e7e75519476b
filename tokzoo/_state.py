"""State dicts: read safely, checked whole."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SHOWN = 10  # of each kind of misfit


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch pickle, of which no code is run.

    Raises:
        FileNotFoundError: no such file. ValueError: a broken file, one with code in it, or one without tensors.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no weights file {file}")
    state = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), Mapping):
            state = dict(state[wrapper])
    strangers = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if strangers or not state:
        raise ValueError(f"{file} is no state dict: these entries are not tensors: {strangers[:SHOWN]}")
    return state


def _read_safetensors(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is broken ({error}); delete it and fetch it again") from error


def _read_pickle(file: Path) -> dict[str, Any]:
    import pickle

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{file} was not opened: it holds more than tensors, or is broken ({first})") from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{file} is broken ({error}); delete it and fetch it again") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{file} is no state dict but a {type(state).__name__}")
    return dict(state)


def check_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Raises ValueError unless `given` has just the keys and shapes of `own`, naming all that is wrong at once."""
    problems = [
        *_list("missing", [key for key in own if key not in given]),
        *_list("unexpected", [key for key in given if key not in own]),
        *_list(
            "of another shape",
            [
                f"{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}"
                for key in own
                if key in given and own[key].shape != given[key].shape
            ],
        ),
    ]
    if problems:
        raise ValueError(f"{source} does not fit this model, nothing was loaded: " + "; ".join(problems))


def _list(kind: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return [f"{len(keys)} {kind}: {', '.join(keys[:SHOWN])}{more}"]


def check_hash(file: Path, sha256: str | None) -> None:
    """Raises ValueError unless the file has the recorded hash, if one is recorded."""
    if sha256 is None:
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{file} has sha256 {found}, recorded is {sha256}; delete it and fetch it again")


@contextmanager
def without_parameters() -> Iterator[None]:
    """While open, modules are built with parameters on the meta device (no memory, no initialisation), buffers real."""
    register = nn.Module.register_parameter

    def register_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
