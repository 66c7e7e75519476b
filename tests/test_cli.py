"""The commands, as a user types them."""

from pathlib import Path

import pytest
from PIL import Image

from tokzoo.cli.main import COMMANDS, main

PHOTOS = Path(__file__).parents[1] / "examples" / "images"


def test_list_takes_a_wildcard_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "titok_nano*", "--pretrained"]) == 0
    assert capsys.readouterr().out.split() == ["titok_nano.photos64"]
    main(["list", "nothing*"])
    assert "no model matches" in capsys.readouterr().out


def test_info_shows_hub_licence_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "titok_l32.in1k"]) == 0
    out = capsys.readouterr().out
    for fact in ("yucornetto/tokenizer_titok_l32_imagenet", "Apache-2.0", "rFID 2.21", "2406.07550"):
        assert fact in out


def test_an_unknown_name_is_explained_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "titok_nona"]) == 1
    assert (
        capsys.readouterr().err
        == "tokzoo info: no model is called 'titok_nona'; did you mean titok_nano, titok_l32, titok_b64?\n"
    )


def test_reconstruct_writes_pictures_and_prints_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = [str(PHOTOS / name) for name in ("rose.jpg", "car.jpg")]
    assert main(["reconstruct", *photos, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "32 tokens, 384 bits an image" in out
    assert Image.open(tmp_path / "rose.png").size == (64, 64)
    assert (tmp_path / "contact-sheet.png").stat().st_size > 1000


def test_compare_draws_one_sheet(tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    names = ["titok_nano.photos64", "titok_nano.photos64"]
    assert main(["compare", str(PHOTOS / "rose.jpg"), "--tokenizers", *names, "--out", str(file)]) == 0
    assert Image.open(file).height > 3 * 160


def test_demo_writes_a_page_of_all_shipped_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--photos", str(PHOTOS), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    assert "titok_nano.photos64" in page and "sunflower" in page


def test_a_photo_that_is_none_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((PHOTOS / "rose.jpg").read_bytes()[:2000])
    assert main(["reconstruct", str(broken), "--out", str(tmp_path / "out")]) == 1
    assert "broken.jpg" in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (*COMMANDS, "train"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert "usage: tokzoo" in capsys.readouterr().out
