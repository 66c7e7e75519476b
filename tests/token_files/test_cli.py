"""tokzoo encode and tokzoo decode, with the shipped checkpoint."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import tokzoo
from tests.token_files.anatomy import with_header
from tokzoo.cli.main import main
from tokzoo.images import to_image
from tokzoo.token_files import TokenFile, append, save

PHOTOS = Path(__file__).parents[2] / "examples" / "images"
NANO = "titok_nano.photos64"


@pytest.fixture(scope="module")
def tok() -> tokzoo.VisualTokenizer:
    return tokzoo.from_pretrained(NANO)


@pytest.fixture
def file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Two photos."""
    assert run("encode", PHOTOS / "rose.jpg", PHOTOS / "car.jpg", "--model", NANO, "--out", tmp_path / "a.tkz") == 0
    return tmp_path / "a.tkz"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_encode_prints_payload_and_file_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.tkz"
    assert run("encode", PHOTOS, "--model", NANO, "--out", out) == 0
    printed = capsys.readouterr().out
    count = len(list(PHOTOS.glob("*.*g")))
    assert f"payload {384 * count} bits ({48 * count} bytes): {count} photos, 384 bits each" in printed
    assert f"file    {out.stat().st_size} bytes" in printed
    assert 48 * count < out.stat().st_size < 48 * count + 1000


def test_decode_gives_the_pictures_that_the_tokenizer_gives(file: Path, tok: tokzoo.VisualTokenizer) -> None:
    assert run("decode", file, "--out", file.parent / "out") == 0
    with torch.no_grad():
        expected = tok.decode(tok.encode(tok.preprocess([PHOTOS / "rose.jpg", PHOTOS / "car.jpg"])))
    for name, image in zip(("rose", "car"), expected, strict=True):
        written = Image.open(file.parent / "out" / f"{name}.png")
        assert written.tobytes() == to_image(image).tobytes()


@pytest.mark.parametrize("coding", ["static", "adaptive"])
def test_entropy_coded_files_give_the_same_pictures(coding: str, file: Path) -> None:
    coded, out = file.with_name("coded.tkz"), file.parent
    assert run("encode", PHOTOS / "rose.jpg", PHOTOS / "car.jpg", "--out", coded, "--coding", coding) == 0
    assert coded.read_bytes() != file.read_bytes()
    assert run("decode", coded, "--out", out / "coded") == 0
    assert run("decode", file, "--out", out / "plain") == 0
    for name in ("rose.png", "car.png"):
        assert (out / "coded" / name).read_bytes() == (out / "plain" / name).read_bytes()


def test_append_adds_and_names_that_come_twice_are_kept_apart(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = file.parent / "elsewhere"
    other.mkdir()
    shutil.copy(PHOTOS / "rose.jpg", other / "ROSE.jpg")
    assert run("encode", PHOTOS / "rose.jpg", other, "--out", file, "--append") == 0
    assert "payload 768 bits (96 bytes): 2 photos" in capsys.readouterr().out
    assert run("decode", file, "--out", file.parent / "out") == 0
    assert sorted(path.name for path in (file.parent / "out").iterdir()) == [
        "ROSE-3.png",
        "car.png",
        "rose-2.png",
        "rose.png",
    ]


def test_another_tokenizer_is_refused_with_both_names(
    file: Path, tok: tokzoo.VisualTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tokzoo.from_pretrained(NANO)
    with torch.no_grad():
        next(changed.decoder.parameters()).mul_(1.1)
    changed.save_pretrained(file.parent / "changed")
    out = file.parent / "out"
    assert run("decode", file, "--model", file.parent / "changed", "--out", out) == 1
    refused = capsys.readouterr().err
    assert re.search(rf"holds tokens of {NANO} \(.*\); this is {NANO} \(.*\)", refused) and "any_tokenizer" in refused
    assert not out.exists()
    assert run("encode", PHOTOS / "rose.jpg", "--model", file.parent / "changed", "--out", file, "--append") == 1
    assert run("decode", file, "--model", file.parent / "changed", "--out", out, "--any_tokenizer") == 0
    assert len(list(out.iterdir())) == 2


def test_a_file_does_not_choose_what_is_loaded(
    file: Path, tok: tokzoo.VisualTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    with TokenFile(file) as opened:
        tokens = opened[:]
    for name in ("../../evil", "someone/something", None):
        named = tokzoo.token_files.TokenizerId(name, {})
        save(tokens, file, tokenizer=named)
        assert run("decode", file, "--out", file.parent / "out") == 1
        assert "which is not registered; say its model" in capsys.readouterr().err


def test_samples_without_names_are_numbered(file: Path, tok: tokzoo.VisualTokenizer) -> None:
    with TokenFile(file) as opened:
        append(opened[0], file, tokenizer=tok)
    assert run("decode", file, "--out", file.parent / "out") == 0
    assert (file.parent / "out" / "000002.png").is_file()


def test_damaged_files_are_explained_on_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = file.read_bytes()
    capsys.readouterr()
    for data, message in (
        (whole[:-1], "cut short"),
        (whole[:-1] + b"\0\0", "damaged"),
        (with_header(whole, f1=3), "version 3"),
    ):
        file.write_bytes(data)
        assert run("decode", file, "--out", file.parent / "out") == 1
        error = capsys.readouterr().err
        assert error.startswith("tokzoo decode: ") and message in error and error.count("\n") == 1
    assert run("decode", file.parent / "none.tkz") == 1


def test_a_broken_photo_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert run("encode", tmp_path / "broken.jpg", "--out", tmp_path / "a.tkz") == 1
    assert "broken.jpg" in capsys.readouterr().err
    assert not (tmp_path / "a.tkz").exists()
