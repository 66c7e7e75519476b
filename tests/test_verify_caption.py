"""`tokzoo verify --caption`: a tokenizer that reads text is checked with a text, or the report says how to give one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tokzoo
from tests.test_conditions import SEEN, Guided
from tests.test_verify import outcome
from tokzoo import registry, verify
from tokzoo.cli.main import main
from tokzoo.registry import Architecture, ManualSource, Weights
from tokzoo.tokenizers.tatitok.config import TINY

NAME = "guided_by_letters"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Weights of a registered tokenizer that reads letters; what it gives back is no photo, for it is untrained."""
    source = ManualSource(file="guided.safetensors", url="https://example.org/guided.safetensors")
    tokzoo.register_architecture(
        Architecture(
            name=NAME,
            family=NAME,
            model="tests.test_conditions:Guided",
            config=TINY,
            token_type="discrete",
            paper="2501.07730",
            weights=(Weights(tag="none", manual=source, code_licence="mit", licence="mit", checked="manifest"),),
        )
    )
    torch.manual_seed(0)
    save_file(Guided(TINY).state_dict(), tmp_path / source.file)
    yield tmp_path / source.file
    del registry._registered[NAME]


def test_without_a_caption_the_reconstruction_is_not_proven_and_the_option_is_named(file: Path) -> None:
    SEEN.clear()
    check = outcome(verify.verify(f"{NAME}.none", file=file), "reconstruction")
    assert check.outcome == "not proven"
    assert check.detail == "it takes more than a photo: text; --caption TEXT has it computed"
    assert SEEN == []


@pytest.mark.parametrize("caption", ["A photo of a jay.", ""])
def test_a_caption_is_read_for_the_photo_and_its_reconstruction_judged(file: Path, capsys, caption: str) -> None:
    SEEN.clear()
    assert main(["verify", f"{NAME}.none", "--file", str(file), f"--caption={caption}"]) == 1  # it is untrained
    printed = capsys.readouterr()
    assert list(SEEN) == [(caption,)]
    assert "proven      weights: every key is read" in printed.out
    assert "failed      reconstruction of the packaged photo: " in printed.out
    assert f"1 checks of {NAME}.none failed" in printed.err


def test_the_text_changes_what_comes_back(file: Path) -> None:
    said = {
        text: outcome(verify.verify(f"{NAME}.none", file=file, caption=text), "reconstruction of the packaged photo")
        for text in ("A photo of a jay.", "zzz zzz zzz")
    }
    assert len({check.detail for check in said.values()}) == 2
