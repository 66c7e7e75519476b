"""The page of results: one table per protocol, and what was measured otherwise is named instead of listed."""

import dataclasses
from pathlib import Path

import pytest

from tokzoo.evaluation.leaderboard import render, write_leaderboard
from tokzoo.evaluation.protocol import load_protocol
from tokzoo.evaluation.results import Result, read_result, read_results, write_result
from tokzoo.evaluation.summary import Score

EVAL = Path(__file__).parents[2] / "eval"
PIXELS = load_protocol("photos64_pixels")


def result(subject: str, **changes: object) -> Result:
    about = Result(
        subject=subject,
        kind="tokenizer",
        weights={},
        protocol=PIXELS.name,
        protocol_sha256=PIXELS.sha256,
        images={"count": 1063, "sha256": "ab" * 32},
        departures=[],
        scores={"psnr": Score(20.5, 20.25, 20.75), "bits_per_image": Score(384.0)},
        seconds=1.0,
        machine="a machine",
        versions={},
        date="2026-01-01",
    )
    return dataclasses.replace(about, **changes)


def test_a_table_holds_numbers_with_intervals_under_the_hash_of_their_protocol():
    page = render([result("ours")])
    assert "| ours | 20.50<br><sub>20.25&nbsp;to&nbsp;20.75</sub> | 384 |" in page
    assert f"`{PIXELS.sha256[:12]}`" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol_sha256": "0" * 64}, "measured by protocol photos64_pixels 000000000000, not by"),
        ({"departures": ["8 images instead of 1,063"]}, "not measured as its protocol says: 8 images"),
        ({"images": {"count": 1063, "sha256": "cd" * 32}}, "measured on different images"),
    ],
)
def test_what_cannot_be_compared_is_in_no_table(change, said):
    page = render([result("ours"), result("theirs", **change)])
    assert "| theirs |" not in page
    assert said in page


def test_two_protocols_never_share_a_table():
    other = result("ours", protocol="kodak6_256", protocol_sha256=load_protocol("kodak6_256").sha256)
    page = render([result("ours"), other])
    assert page.count("| --- |") == 2
    assert page.index("## kodak6_256") < page.index("## photos64_pixels")


def test_the_page_is_written_with_its_plot(tmp_path):
    pytest.importorskip("matplotlib")
    scores = {"psnr": Score(25.0), "bits_per_image": Score(800.0), "file_bits_per_image": Score(5000.0)}
    codecs = [result(f"jpeg_q{quality}", kind="codec", scores=scores) for quality in (10, 50)]
    for each in (result("ours"), *codecs):
        write_result(each, tmp_path / "results")
    page = write_leaderboard(tmp_path / "results", tmp_path / "page" / "README.md")
    assert "![PSNR over bytes](photos64_pixels.png)" in page.read_text()
    assert (tmp_path / "page" / "photos64_pixels.png").read_bytes().startswith(b"\x89PNG")


def test_a_distance_is_drawn_over_tokens_and_names_come_by_their_numbers(tmp_path):
    pytest.importorskip("matplotlib")
    scores = {"fd_effnet_lite0": Score(81.5, 80.0, 83.0), "tokens_per_image": Score(32.0)}
    assert "![" not in render([result("ours", scores=scores)], tmp_path)  # a single one is no plot
    both = [result(name, scores=scores) for name in ("ours", "theirs")]
    page = render([*both, result("b_q20"), result("b_q5")], tmp_path)
    assert "![Distance over tokens](photos64_pixels_fd_effnet_lite0.png)" in page
    assert page.index("| b_q5 |") < page.index("| b_q20 |")


def test_records_of_other_kinds_are_passed_over(tmp_path):
    write_result(result("ours"), tmp_path)
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "other.json").write_text('{"seconds": 3}')
    assert [each.subject for each in read_results(tmp_path)] == ["ours"]
    with pytest.raises(ValueError, match="no result of tokzoo eval"):
        read_result(tmp_path / "speed" / "other.json")


def test_the_page_of_this_checkout_shows_its_results(tmp_path):
    page = (EVAL / "README.md").read_text()
    assert page == write_leaderboard(EVAL / "results", tmp_path / "README.md").read_text(), "run `tokzoo leaderboard`"


def test_no_results_say_what_writes_them(tmp_path):
    with pytest.raises(ValueError, match="tokzoo eval writes them"):
        write_leaderboard(tmp_path, tmp_path / "README.md")
