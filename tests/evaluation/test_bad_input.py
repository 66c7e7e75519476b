"""What a user may give by mistake: refused or named, never a wrong number."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_evaluation import COUNT, SIZE, Pictures, evaluated, protocol
from tokzoo.cli.main import main
from tokzoo.evaluation import run
from tokzoo.evaluation.subjects import Reconstruction, Subject, load_subject
from tokzoo.metrics.extractors import build_extractor
from tokzoo.metrics.statistics import GaussianStatistics, Origin, save_moments

PIXELS = "about: of a test\nimages: {set: pictures}\nimage_size: 32\nmetrics: [psnr, ssim]\n"
NETWORK = "extractor: {name: effnet_lite0, settings: {side: 32}}\nbootstrap: {set_draws: 4}\n"
DISTANCE = PIXELS.replace("[psnr, ssim]", "[fd]") + NETWORK
WIDTH = 1280


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of protocols, photos and samples, from where the command is given."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("photos", 4), ("made", 3), ("broken", 3)):
        Path(name).mkdir()
        for index in range(count):
            Image.fromarray(Pictures()[index][:SIZE, :SIZE]).save(f"{name}/{index}.png")
    Path("broken", "1.png").write_text("no picture")
    Path("empty").mkdir()
    Path("empty", "readme.txt").write_text("no picture either")
    Path("pixels.yaml").write_text(PIXELS)
    Path("paired.yaml").write_text(DISTANCE)
    Path("stats.yaml").write_text(f"{DISTANCE}reference: stats.npz\n")
    Path("set.yaml").write_text(f"{DISTANCE}reference: set\n")
    Path("samples.npz").write_text("no archive")
    np.savez("floats.npz", arr_0=np.zeros((3, SIZE, SIZE, 3)))
    return tmp_path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("identity --protocol pixels.yaml --data broken", "cannot read the image '1.png' of broken"),
        ("identity --protocol pixels.yaml --data empty", "no images in empty; files count by suffix: .bmp"),
        ("identity --protocol pixels.yaml --data nowhere", "No such file or directory: 'nowhere'"),
        ("identity --protocol pixels.yaml --data photos --limit 0", "of at least one image; got 32 and 0"),
        ("identity --protocol pixels.yaml --data photos --batch_size 0", "of at least one image; got 0 and None"),
        ("identity --protocol pixels.yaml --data photos --extrapolate", "measures no Frechet distance"),
        ("identity --protocol paired.yaml --data photos --reference x.npz", "compares with no statistics: leave x.npz"),
        ("identity --protocol paired.yaml --data photos --limit 1", "a covariance needs at least 2 features; got 1"),
        ("jpeg_q101 --protocol pixels.yaml --data photos", "qualities of JPEG are 1 to 100; got 101"),
        ("made --protocol paired.yaml --data photos", "and samples (made) have none: choose one that compares"),
        ("samples.npz --protocol set.yaml --data photos", "samples.npz is no .npz, or a damaged one"),
        ("floats.npz --protocol set.yaml --data photos", "samples are uint8 (N, S, S, 3); got float64"),
        ("nowhere.npz --protocol set.yaml --data photos", "No such file or directory: 'nowhere.npz'"),
    ],
)
def test_the_command_refuses_it_in_a_line_and_writes_no_result(here, capsys, command, said):
    assert main(["eval", *command.split(), "--out", "results"]) == 1
    assert said in capsys.readouterr().err
    assert not list(Path("results").glob("*/*.json"))


@pytest.mark.parametrize(
    ("width", "origin", "said"),
    [
        (WIDTH, {"extractor": "inception"}, "extractor 'inception' and 'effnet_lite0'"),
        (WIDTH, {"image_size": 256}, "image_size 256 and 32"),
        (WIDTH, {"weights_sha256": "0123"}, "weights_sha256 '0123'"),
        (2048, {}, "the statistics are of 1280 and 2048 features: two extractors"),
    ],
)
def test_statistics_of_another_extractor_or_resolution_are_refused(here, capsys, width, origin, said):
    features = torch.randn(9, width, generator=torch.Generator().manual_seed(0))
    save_moments(GaussianStatistics.of(features).moments(Origin(**origin)), here / "stats.npz")
    command = ["eval", "identity", "--protocol", "stats.yaml", "--data", "photos", "--reference", "stats.npz"]
    assert main([*command, "--out", "results"]) == 1
    assert said in capsys.readouterr().err


def test_statistics_of_the_same_extractor_and_resolution_are_taken(here):
    extractor = build_extractor("effnet_lite0", side=SIZE)
    origin = Origin(extractor=extractor.name, weights_sha256=extractor.weights_sha256, image_size=SIZE)
    features = torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(0))
    save_moments(GaussianStatistics.of(features).moments(origin), here / "stats.npz")
    command = ["eval", "identity", "--protocol", "stats.yaml", "--data", "photos", "--reference", "stats.npz"]
    assert main([*command, "--out", "results"]) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_reconstructions_that_are_not_finite_have_no_score(tmp_path, value):
    def spoilt(images, first):
        made = images.clone()
        made[1, 0, 0, 0] = value
        return Reconstruction(made)

    with pytest.raises(ValueError, match="1 of a batch of 4 reconstructions hold NaN or infinity, the first in row 1"):
        evaluated(Subject(name="spoilt", kind="sanity", reconstruct=spoilt), tmp_path)


class Grey(Pictures):
    def __getitem__(self, index):
        return np.full((SIZE, SIZE, 3), 100, np.uint8)


def test_constant_images_have_an_infinite_psnr_that_is_named(tmp_path):
    result = evaluated(load_subject("mean_image"), tmp_path, Grey())
    assert result.scores["psnr"].value == float("inf")
    assert result.scores["fd_effnet_lite0"].value == 0
    assert any("its PSNR, and so the mean, is infinite" in note for note in result.notes)


def test_an_extrapolation_from_few_images_is_made_and_called_rough(tmp_path):
    chosen = protocol(metrics=("fd",))
    result = evaluated(load_subject("mean_image"), tmp_path, chosen=chosen, extrapolate=True)
    measured, extrapolated = (result.scores[name].value for name in ("fd_effnet_lite0", "fd_infinity_effnet_lite0"))
    assert 0 < extrapolated < measured
    rough = [note for note in result.notes if note.startswith(f"fd_infinity_effnet_lite0 of {COUNT} images is rough")]
    assert len(rough) == 1 and f"below {run.STRAIGHT} times the 1,280 features" in rough[0]
    assert not any("--extrapolate" in note for note in result.notes)  # it was done
