"""State dicts: read safely, checked whole."""

import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokzoo._files import AGAIN
from tokzoo.conversion import under

SHOWN = 10  # of each kind of misfit


def read_state(file: Path, averaged: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch pickle, of which no code is run.

    They are mapped: a tensor's bytes are read from the disk when it is used.

    Args:
        averaged: the entry under which authors keep the moving average of the weights, which they evaluate; a file that
            holds one state dict and nothing else needs no such entry.

    Raises:
        FileNotFoundError: no such file. ValueError: a broken file, one with code in it, one without tensors, or one
            with several state dicts of which nothing says which is meant.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no weights file {file}")
    state = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    state = _unwrapped(file, state, averaged)
    if not state:
        raise ValueError(f"{file} holds no tensors")
    strangers = [key for key, value in state.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if strangers:
        raise ValueError(f"{file} is no state dict: these entries are not named tensors: {strangers[:SHOWN]}")
    return state


WRAPPERS = ("state_dict", "ema", "model")  # where both are there, authors evaluate the moving average


def _unwrapped(file: Path, state: dict[str, Any], averaged: str | None) -> dict[str, Any]:
    """The state dict among what a training script saved."""
    nested = [str(key) for key, value in state.items() if isinstance(value, Mapping)]
    if averaged is not None and nested:
        if averaged not in nested:
            raise ValueError(
                f"{file} holds {', '.join(nested)}, but not {averaged!r}, the moving average that its authors evaluate"
            )
        return dict(state[averaged])
    unknown = [key for key in nested if "ema" in key and key not in WRAPPERS]
    if unknown and not {"state_dict", "ema"} & set(nested):
        raise ValueError(
            f"{file} holds {', '.join(unknown)} beside {', '.join(key for key in nested if key not in unknown)}: "
            "nothing says which of them the authors evaluate (`averaged` of the architecture does)"
        )
    for wrapper in WRAPPERS:
        if isinstance(state.get(wrapper), Mapping):
            state = dict(state[wrapper])
    return state


def _read_safetensors(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is broken ({error}); {AGAIN}") from error


def _read_pickle(file: Path) -> dict[str, Any]:
    bystanders: dict[str, type] = {}
    while True:
        try:
            with torch.serialization.safe_globals([(kind, name) for name, kind in bystanders.items()]):
                state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
            break
        except OSError:
            raise
        except Exception as error:  # foreign bytes can end the unpickler in IndexError, KeyError, struct.error and more
            if stranger := re.search(r"GLOBAL ([\w.]+)", str(error)):
                name = stranger[1]
                if name.startswith(BYSTANDERS) and name not in bystanders:
                    bystanders[name] = type("Bystander", (_Bystander,), {})
                    continue
                raise ValueError(f"{file} was not opened: it asks for {name}; only tensors are read") from error
            first = (str(error).splitlines() or ["it ends too early"])[0]
            raise ValueError(f"{file} is broken ({first}); {AGAIN}") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{file} is no state dict but a {type(state).__name__}")
    return dict(state)


BYSTANDERS = ("argparse.Namespace", "lightning.", "pytorch_lightning.", "omegaconf.")


class _Bystander:
    """Stands for what training scripts leave beside the weights; it has no code of its own, and none is run."""

    def __new__(cls, *values: Any, **named: Any) -> "_Bystander":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Nothing is kept."""


def renamed(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """What a model that stands on another takes of its state, renamed: `prefixes` are own ones -> those there."""
    return {own + key: value for own, lent in prefixes.items() for key, value in under(state, lent).items()}


def check_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Raises ValueError unless `given` has just the keys and shapes of `own`; all that is wrong is named at once."""
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
        *_list(
            "integers for floats",
            [
                f"{key} {given[key].dtype}"
                for key in own
                if key in given and own[key].is_floating_point() and not given[key].is_floating_point()
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


_building = threading.RLock()


@contextmanager
def without_parameters() -> Iterator[None]:
    """While open, modules are built with parameters on the meta device (no memory, no initialisation), buffers real.

    Only in the thread that opened it; a second thread waits.
    """
    register, thread = nn.Module.register_parameter, threading.get_ident()

    def register_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and threading.get_ident() == thread:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    with _building:
        nn.Module.register_parameter = register_meta  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.register_parameter = register  # type: ignore[method-assign]
