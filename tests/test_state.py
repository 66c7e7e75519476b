"""Training leaves more than tensors in a file; only tensors come out of it, and no code is run."""

import argparse
import os
import sys
import types
from pathlib import Path

import pytest
import torch

from tokzoo._state import read_state


class Callback:
    def __init__(self) -> None:
        self.best = {"score": 1.0}

    def __call__(self) -> None:
        raise AssertionError("code of the file was run")


def lightning_file(path: Path) -> Path:
    """As Lightning 1.x writes it: hyperparameters, and callbacks by their class."""
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint"]
    modules = {name: types.ModuleType(name) for name in names}
    Callback.__module__, Callback.__qualname__ = names[-1], "ModelCheckpoint"
    modules[names[-1]].ModelCheckpoint = Callback
    sys.modules |= modules
    try:
        torch.save(
            {
                "state_dict": {"encoder.weight": torch.ones(2)},
                "callbacks": {Callback: Callback()},
                "hyper_parameters": argparse.Namespace(width=8),
            },
            path,
        )
    finally:
        for name in names:
            del sys.modules[name]
    return path


def test_weights_are_read_beside_what_training_left(tmp_path: Path) -> None:
    state = read_state(lightning_file(tmp_path / "last.ckpt"))
    assert list(state) == ["encoder.weight"]
    assert state["encoder.weight"].tolist() == [1, 1]


def test_the_average_is_taken_where_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "best_ckpt.pt"
    args = argparse.Namespace(lr=1e-4)
    torch.save({"model": {"a": torch.zeros(1)}, "ema": {"a": torch.ones(1)}, "optimizer": {}, "args": args}, file)
    assert read_state(file)["a"].item() == 1


def test_an_average_under_a_name_of_its_own_is_taken_by_that_name_and_never_guessed(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint-last.pth"
    left = dict(model={"a": torch.zeros(1)}, optimizer={"state": {}}, epoch=3, args=argparse.Namespace(lr=1e-4))
    torch.save({**left, "model_ema": {"a": torch.ones(1)}}, file)
    assert read_state(file, "model_ema")["a"].item() == 1
    with pytest.raises(ValueError, match="holds model_ema beside model, optimizer: nothing says which"):
        read_state(file)
    torch.save(left, file)
    with pytest.raises(ValueError, match="holds model, optimizer, but not 'model_ema'"):
        read_state(file, "model_ema")
    torch.save({"a": torch.ones(1)}, file)  # as the hub's mirrors have it
    assert list(read_state(file, "model_ema")) == ["a"]


class Attack:
    def __reduce__(self) -> tuple:
        return os.getcwd, ()


def test_other_code_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "bad.pt"
    torch.save({"model": {"a": torch.zeros(1)}, "more": Attack()}, file)
    with pytest.raises(ValueError, match=r"asks for \w+.getcwd; only tensors are read"):
        read_state(file)


def test_a_bystander_among_the_weights_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.pt"
    torch.save({"model": {"a": torch.zeros(1), "b": argparse.Namespace()}}, file)
    with pytest.raises(ValueError, match=r"not named tensors: \['b'\]"):
        read_state(file)
