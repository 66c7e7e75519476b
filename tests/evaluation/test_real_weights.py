"""Published weights at 256 pixels give the numbers that were measured apart from tokzoo."""

import os
from pathlib import Path

import pytest

from tokzoo.cli.main import main
from tokzoo.evaluation.protocol import load_protocol
from tokzoo.evaluation.results import read_result
from tokzoo.evaluation.run import open_photos
from tokzoo.evaluation.scoring import Work, describe, score_images
from tokzoo.evaluation.subjects import load_subject

SHARED = Path(os.environ.get("TOKZOO_SHARED", "no such folder"))
KODAK, TAEF2 = SHARED / "data" / "kodak24", SHARED / "weights" / "taef2"
PSNR = (25.78, 32.42, 26.38, 30.39, 33.80, 26.09)  # of kodim01, 03, 05, 07, 09, 11


@pytest.mark.slow
@pytest.mark.skipif(not KODAK.is_dir() or not TAEF2.is_dir(), reason="TOKZOO_SHARED names no folder with them")
def test_taef2_has_its_measured_psnr_on_each_of_six_kodak_crops(tmp_path):
    command = ["eval", "taef2.flux2", "--file", str(TAEF2), "--data", str(KODAK), "--protocol", "kodak6_256"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    result = read_result(tmp_path / "kodak6_256" / "taef2.flux2.json")
    assert result.departures == []
    assert result.scores["psnr"].value == pytest.approx(sum(PSNR) / 6, abs=0.05)
    chosen, subject = load_protocol("kodak6_256"), load_subject("taef2.flux2", file=TAEF2)
    work = Work(tmp_path / "work", describe(subject, chosen, "kodak", 6, 3))
    arrays = score_images(subject, open_photos(KODAK, chosen), chosen, None, work, count=6, batch_size=3)
    assert arrays["psnr"].tolist() == pytest.approx(PSNR, abs=0.05)
