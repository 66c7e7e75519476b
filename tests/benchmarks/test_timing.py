"""Times in turns, memory, and the reports made of them."""

import json
import time
from pathlib import Path

import pytest
import torch

from tokzoo.benchmarks import micro, models
from tokzoo.benchmarks.machine import machine
from tokzoo.benchmarks.micro import Comparison, run_micro
from tokzoo.benchmarks.timing import Timing, cpu_speedup, interleaved, peak_bytes, speedup
from tokzoo.cli.main import main
from tokzoo.quantizers.nearest import nearest_rows

LIMIT = 64 * 2**20  # bytes of a (vectors x codebook) matrix


def test_rounds_take_turns_and_each_begins_with_another() -> None:
    order: list[str] = []
    interleaved({name: lambda name=name: order.append(name) for name in "abc"}, rounds=3, memory=False)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"


def test_the_slower_call_is_told_by_the_clock_and_the_processor() -> None:
    timings = interleaved({"idle": lambda: time.sleep(0.02), "none": lambda: None}, rounds=3, memory=False)
    assert timings["idle"].least >= 0.02
    assert timings["idle"].cpu_seconds < 0.01  # sleeping is no work
    assert speedup(timings, "none", "idle") > 100
    busy = {"one": lambda: sum(range(20_000)), "ten": lambda: sum(range(200_000))}
    assert cpu_speedup(interleaved(busy, rounds=5, memory=False), "one", "ten") > 3


def test_timing_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one call and one round"):
        interleaved({}, rounds=1)


def test_peak_counts_what_is_alive_at_once() -> None:
    given = torch.rand(1000, 1000)
    assert 8_000_000 <= peak_bytes(lambda: (given + 1) + 1) < 8_100_000  # two results side by side
    assert 4_000_000 <= peak_bytes(lambda: [(given + 1).sum() for _ in range(3)]) < 4_100_000  # one after the other


def test_peak_reports_nothing_on_the_error_stream(capfd: pytest.CaptureFixture[str]) -> None:
    peak_bytes(lambda: torch.rand(4) + 1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("count", "size", "channels"), [(4096, 16384, 8), (20_000, 4096, 12), (300, 262_144, 4)])
def test_nearest_search_never_holds_a_large_score_matrix(count: int, size: int, channels: int) -> None:
    points, rows = torch.randn(count, channels), torch.randn(size, channels)
    whole = count * size * 4
    assert whole > LIMIT
    assert peak_bytes(lambda: nearest_rows(points, rows)) < 1.5 * LIMIT  # scores, and what is picked out of them


def test_machine_says_versions_and_date_but_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    about = machine()
    assert about["versions"]["torch"] and about["threads"] >= 1 and len(about["date"]) == 10
    assert platform.node() not in json.dumps(about) or not platform.node()


def test_a_comparison_needs_ours() -> None:
    with pytest.raises(ValueError, match="'tokzoo' among its ways"):
        Comparison("x", {"other": Timing(1, 1, 1, 1)})


def test_micro_reports_ratios_in_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    from tokzoo.benchmarks import nearest

    monkeypatch.setattr(nearest, "SIZES", ((256, 64, 4),))
    assert main(["bench", "--micro", "nearest", "--rounds", "2", "--out", str(tmp_path)]) == 0
    (row,) = json.loads((tmp_path / "micro_nearest.json").read_text())["comparisons"]
    assert row["note"].startswith("0 of 256 vectors have a nearer code")
    assert set(row["times_as_fast_as"]) == {"cdist + argmin", "cdist + argmin, chunked"}
    assert "ours is" in capsys.readouterr().out


def test_an_unknown_micro_benchmark_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="nearest"):
        run_micro("nearst")


def test_every_micro_benchmark_is_importable() -> None:
    from tokzoo.registry import load_object

    for reference in micro.MICRO.values():
        assert callable(load_object(reference))


def test_the_plain_vit_has_the_width_depth_and_length_of_the_encoder() -> None:
    import tokzoo

    tok = tokzoo.create_model("titok_nano").eval()
    vit = models.plain_vit(tok)
    config = tok.config
    with torch.no_grad():
        made = vit(torch.rand(1, 3, 64, 64))
    assert made.shape == (1, 1 + config.grid_size**2 + config.num_tokens, config.encoder.width)
    assert len(vit.blocks) == config.encoder.depth
    blocks = sum(value.numel() for value in tok.encoder.blocks.parameters())
    assert blocks == sum(value.numel() for value in vit.blocks.parameters())
    assert models.plain_vit(tokzoo.create_model("maskgit_vqgan_f16", width=32, multipliers=(1, 2))) is None


def test_bench_writes_images_per_second_beside_the_vit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "titok_nano.photos64", "--batches", "1", "2", "--rounds", "2", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "bench_titok_nano.photos64.json").read_text())
    assert [row["batch"] for row in report["rows"]] == [1, 2]
    assert set(report["rows"][0]["encode"]) == {"tokzoo", "tokzoo latents", "timm ViT"}
    assert report["rows"][1]["decode"]["tokzoo"]["peak_bytes"] > 0
    assert "images/s" in capsys.readouterr().out


def test_bench_without_anything_to_time_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 1
    assert "--micro" in capsys.readouterr().err
