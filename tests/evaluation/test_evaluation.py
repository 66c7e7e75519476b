"""A number and its protocol: what changes one changes the other, and a run that was killed ends as one that was not."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import tiny
from tokzoo.cli.main import main
from tokzoo.evaluation import run
from tokzoo.evaluation.protocol import (
    ImageSet,
    Network,
    Perturbation,
    Protocol,
    Published,
    list_protocols,
    load_protocol,
    parse_protocol,
)
from tokzoo.evaluation.results import check_comparable, read_result, read_results, write_result
from tokzoo.evaluation.samples import Blank, generated, is_samples, open_samples
from tokzoo.evaluation.scoring import Share, Work, rounded
from tokzoo.evaluation.subjects import Subject, load_subject, perturbed, tokenizer_subject

SIZE, COUNT = 32, 22


class Pictures:
    """Smooth pictures with edges; reading one more than `most` is a kill."""

    def __init__(self, most: int = COUNT):
        self.most, self.read = most, 0

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> np.ndarray:
        self.read += 1
        if self.read > self.most:
            raise KeyboardInterrupt
        coarse = np.random.default_rng(index).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        return coarse.repeat(9, 0).repeat(9, 1)


def protocol(**changes: object) -> Protocol:
    about = Protocol(
        name="tiny",
        about="of a test",
        images=ImageSet(set="pictures"),
        image_size=SIZE,
        extractor=Network(name="effnet_lite0", settings={"side": SIZE}),
        metrics=("psnr", "ssim", "perceptual", "fd", "kid", "manifold", "codes"),
        kid_subsets=3,
        kid_subset_size=10,
        bootstrap=dataclasses.replace(Protocol.__dataclass_fields__["bootstrap"].default_factory(), set_draws=4),
    )
    return dataclasses.replace(about, **changes)


@pytest.fixture(scope="module")
def tokenizer() -> Subject:
    return tokenizer_subject(tiny("titok", image_size=SIZE), "tiny")


def evaluated(subject, tmp_path, photos=None, chosen=None, **settings):
    settings = run.Settings(work=tmp_path / "work", batch_size=4, **settings)
    return run.evaluate(subject, photos or Pictures(), chosen or protocol(), settings)


# --- protocols -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"crop": "bilinear"},
        {"crop": "opencv"},  # bilinear without antialias
        {"rounding": "jpeg95"},
        {"rounding": "float"},
        {"ssim": "torchmetrics"},
        {"images": ImageSet(set="pictures", count=10)},
        {"extractor": Network(name="effnet_lite0", settings={"side": 64})},
        {"metrics": ("psnr", "ssim")},
    ],
)
def test_any_field_that_changes_a_number_changes_the_hash_and_comparison_is_refused(tmp_path, change):
    assert protocol(**change).sha256 != protocol().sha256
    identity = load_subject("identity")
    plain = protocol(metrics=("psnr",), extractor=None)
    one = evaluated(identity, tmp_path, chosen=plain)
    with pytest.raises(ValueError, match="numbers are not comparable"):
        check_comparable([one], dataclasses.replace(plain, **change))


def test_names_and_words_are_no_part_of_the_hash():
    published = (Published(texts=("theirs",), scores={"PSNR": "psnr"}),)
    assert protocol(name="other", about="else", published=published).sha256 == protocol().sha256


@pytest.mark.parametrize("name", list_protocols())
def test_every_shipped_protocol_reads_and_says_what_it_is(name):
    held = load_protocol(name)
    assert held.name == name
    assert held.about


def test_shipped_protocols_are_all_different():
    hashes = [load_protocol(name).sha256 for name in list_protocols()]
    assert len(set(hashes)) == len(hashes)


def test_wrong_protocols_are_explained(tmp_path):
    with pytest.raises(KeyError, match=r"no protocol is called .fid.; there are .*photos64"):
        load_protocol("fid")
    with pytest.raises(ValueError, match=r"crop must be one of bicubic.*got .cubic."):
        protocol(crop="cubic")
    with pytest.raises(ValueError, match="a protocol has no field filter; it has name"):
        parse_protocol({"name": "x", "filter": "bicubic"})
    with pytest.raises(ValueError, match="asks for fd: name an extractor"):
        protocol(extractor=None, metrics=("fd",))


# --- the pass --------------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_at_its_batch_and_gives_the_same_numbers(tmp_path, tokenizer):
    whole = evaluated(tokenizer, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        evaluated(tokenizer, tmp_path / "b", Pictures(most=11))
    kept = len(list((tmp_path / "b" / "work").glob("batch-*.npz")))
    assert 1 <= kept < 6
    photos = Pictures()
    again = evaluated(tokenizer, tmp_path / "b", photos)
    assert photos.read == COUNT - 4 * kept  # what was done is not done again
    assert again.scores == whole.scores
    assert again.images == whole.images


def test_processes_share_the_batches_and_change_no_number(tmp_path, tokenizer):
    plain = protocol(metrics=("psnr", "codes"), extractor=None)
    whole = evaluated(tokenizer, tmp_path / "a", chosen=plain)
    assert evaluated(tokenizer, tmp_path / "b", chosen=plain, share=Share(1, 2)) is None
    assert evaluated(tokenizer, tmp_path / "b", chosen=plain, share=Share(0, 2)).scores == whole.scores


def test_the_identity_is_perfect_and_noise_is_far(tmp_path):
    best = evaluated(load_subject("identity"), tmp_path / "a").scores
    worst = evaluated(load_subject("noise"), tmp_path / "b").scores
    assert best["psnr"].value == float("inf")
    assert best["ssim"].value == pytest.approx(1)
    assert best["fd_effnet_lite0"].value == pytest.approx(0, abs=1e-3)
    assert best["perceptual_effnet_lite0"].value == 0
    assert best["recall_effnet_lite0"].value == 1
    assert worst["psnr"].value < 12
    for name in ("fd_effnet_lite0", "perceptual_effnet_lite0", "kid_effnet_lite0"):
        assert worst[name].value > best[name].value + 0.1
    assert not any("fid" in name for name in best)  # a score of another network is never called FID


def test_an_interval_holds_its_value(tmp_path, tokenizer):
    for name, score in evaluated(tokenizer, tmp_path).scores.items():
        if score.low is not None:
            assert score.low <= score.value <= score.high, name


def test_few_images_are_warned_of(tmp_path):
    notes = evaluated(load_subject("mean_image"), tmp_path).notes
    assert any("of 22 images is biased upwards" in note for note in notes)
    assert any("a singular covariance" in note for note in notes)


def test_another_run_is_not_mixed_in(tmp_path):
    plain = protocol(metrics=("psnr",), extractor=None)
    evaluated(load_subject("identity"), tmp_path, chosen=plain)
    with pytest.raises(ValueError, match="batches of another run, with another protocol"):
        evaluated(load_subject("identity"), tmp_path, chosen=dataclasses.replace(plain, rounding="float"))


def test_missing_batches_are_counted(tmp_path):
    with pytest.raises(ValueError, match="2 of 2 batches are missing"):
        Work(tmp_path / "work", {}).load(2)


def test_a_tokenizer_of_another_size_is_refused(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="takes images of 32 pixels, protocol tiny has 48"):
        evaluated(tokenizer, tmp_path, chosen=protocol(image_size=48))


def test_statistics_are_asked_for_by_name(tmp_path):
    stats = protocol(reference="stats.npz", metrics=("fd",))
    with pytest.raises(ValueError, match=r"compares with stats.npz: name that file by --reference"):
        evaluated(load_subject("identity"), tmp_path, chosen=stats)


def test_rounding_is_what_its_name_says():
    images = torch.tensor([0.5, 0.501, 1.2]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert rounded(images, "float").amax() == 1
    assert (rounded(images, "truncate")[0, 0] * 255).unique().tolist() == [127]
    assert (rounded(images, "round")[0, 0] * 255).unique().tolist() == [128]
    assert not torch.equal(rounded(torch.rand(1, 3, 8, 8), "jpeg95"), rounded(torch.rand(1, 3, 8, 8), "round"))


def test_perturbed_tokens_make_other_images_and_none_of_them_the_same(tmp_path):
    tok = tiny("titok", image_size=SIZE)
    plain = protocol(metrics=("psnr", "codes"), extractor=None)
    clean = evaluated(tokenizer_subject(tok, "tiny"), tmp_path / "a", chosen=plain).scores
    none, all_of_them = (Perturbation(tokens=share, neighbours=4) for share in (0.0, 1.0))
    same = evaluated(perturbed(tok, none), tmp_path / "b", chosen=plain).scores
    changed = evaluated(perturbed(tok, all_of_them), tmp_path / "c", chosen=plain).scores
    assert same == clean
    assert changed["code_perplexity"] != clean["code_perplexity"]
    assert protocol(perturbation=none).label("fd") == "pfd_effnet_lite0"
    assert protocol(perturbation=none).sha256 != protocol(perturbation=all_of_them).sha256 != protocol().sha256


# --- samples ---------------------------------------------------------------------------------------------------------


def drawn(first: int, count: int) -> torch.Tensor:
    return (
        torch.stack([torch.from_numpy(Pictures()[first + row][:SIZE, :SIZE]) for row in range(count)]).permute(
            0, 3, 1, 2
        )
        / 255
    )


def test_samples_are_compared_with_a_set_that_has_another_number_of_images(tmp_path):
    unpaired = protocol(reference="set", metrics=("fd", "kid", "manifold"))
    settings = run.Settings(work=tmp_path / "work", batch_size=4)
    near = run.evaluate(generated("stand_in", drawn), Blank(18, SIZE), unpaired, settings, reference_set=Pictures())
    assert near.kind == "samples"
    noise = generated("noise", lambda first, count: torch.rand(count, 3, SIZE, SIZE))
    settings = dataclasses.replace(settings, work=tmp_path / "far")
    far = run.evaluate(noise, Blank(18, SIZE), unpaired, settings, reference_set=Pictures())
    assert far.scores["fd_effnet_lite0"].value > near.scores["fd_effnet_lite0"].value
    assert near.scores["precision_effnet_lite0"].value > far.scores["precision_effnet_lite0"].value
    with pytest.raises(ValueError, match="compares with a set of images"):
        run.evaluate(noise, Blank(18, SIZE), unpaired, dataclasses.replace(settings, work=tmp_path / "c"))


def test_samples_in_an_npz_are_taken_as_they_are_and_of_one_size_only(tmp_path):
    np.savez(tmp_path / "samples.npz", arr_0=np.zeros((5, SIZE, SIZE, 3), np.uint8))
    assert is_samples(str(tmp_path / "samples.npz"))
    assert len(open_samples(tmp_path / "samples.npz", protocol())) == 5
    with pytest.raises(ValueError, match=r"is of 48x48 images; the samples of .* are 32x32"):
        open_samples(tmp_path / "samples.npz", protocol(image_size=48))
    np.savez(tmp_path / "stats.npz", mu=np.zeros(3))
    with pytest.raises(ValueError, match=r"holds mu; samples are an array arr_0"):
        open_samples(tmp_path / "stats.npz", protocol())


# --- results ---------------------------------------------------------------------------------------------------------


def test_results_come_back_as_written_infinity_and_all(tmp_path):
    result = evaluated(load_subject("identity"), tmp_path)
    file = write_result(result, tmp_path / "results")
    assert file == tmp_path / "results" / "tiny" / "identity.json"
    assert json.loads(file.read_text())["scores"]["psnr"] == {"value": "inf"}
    assert read_results(tmp_path / "results") == [read_result(file)] == [result]


def test_other_images_or_fewer_are_departures(tmp_path):
    plain = protocol(metrics=("psnr",), extractor=None)
    first = evaluated(load_subject("identity"), tmp_path / "a", chosen=plain)
    assert first.departures == []
    assert "has no hash of its images" in first.notes[0]
    fixed = dataclasses.replace(plain, images=ImageSet(set="pictures", count=COUNT, sha256=first.images["sha256"]))
    exact = evaluated(load_subject("identity"), tmp_path / "b", chosen=fixed)
    assert exact.departures == []
    check_comparable([exact], fixed)
    settings = run.Settings(work=tmp_path / "c", batch_size=4)
    fewer = run.evaluate(load_subject("identity"), Pictures(), fixed, settings, limit=8)
    assert fewer.departures == ["8 images instead of 22"]
    with pytest.raises(ValueError, match="not measured as its protocol says: 8 images"):
        check_comparable([fewer], fixed)


def test_weights_of_the_extractor_that_are_not_the_protocols_are_a_departure(tmp_path):
    wanted = Network(name="effnet_lite0", settings={"side": SIZE}, weights_sha256="0123")
    result = evaluated(load_subject("identity"), tmp_path, chosen=protocol(metrics=("fd",), extractor=wanted))
    assert result.departures == ["weights 579344248a93 of effnet_lite0 instead of 0123"]


# --- the command -----------------------------------------------------------------------------------------------------

PROTOCOL = """
about: of a test
images: {set: pictures, count: 3}
image_size: 32
metrics: [psnr, ssim]
"""


def test_the_command_prints_scores_and_departures_and_writes_a_result(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(Pictures()[index]).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "mine.yaml").write_text(PROTOCOL)
    given = ["eval", "mean_image", "--protocol", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "results")]
    assert main([*given, "--data", str(tmp_path / "photos"), "--limit", "2"]) == 0
    printed = capsys.readouterr().out
    assert "mean_image, protocol mine" in printed
    assert "departs from the protocol: 2 images instead of 3" in printed
    assert read_result(tmp_path / "results" / "mine" / "mean_image.json").images["count"] == 2
    assert not list((tmp_path / "results").glob(".work/*"))  # batches go when the result is there
    assert main(given) == 1
    assert "is of pictures: say where it lies with --data" in capsys.readouterr().err
