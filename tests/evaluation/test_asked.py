"""What a protocol asks of tokens and sizes is done, counted, kept with the numbers, or refused."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_evaluation import COUNT, SIZE, Pictures, evaluated, protocol
from tests.helpers import tiny
from tokzoo._torchvision import import_with_torchvision
from tokzoo.cli.main import main
from tokzoo.data.readers import ImageFolder
from tokzoo.evaluation import run
from tokzoo.evaluation.crops import CROPS
from tokzoo.evaluation.opening import open_evaluation
from tokzoo.evaluation.protocol import Perturbation
from tokzoo.evaluation.results import read_result
from tokzoo.evaluation.samples import open_reference
from tokzoo.evaluation.scoring import Measure
from tokzoo.evaluation.subjects import Reconstruction, Subject, load_subject, tokenizer_subject
from tokzoo.images import adm_crop
from tokzoo.losses.perceptual import LpipsLoss
from tokzoo.losses.reconstruction import psnr
from tokzoo.metrics.resize import plain_bicubic

PHOTOS = Path(__file__).parents[2] / "examples" / "images"
PIXELS = protocol(metrics=("psnr", "l1", "codes"), extractor=None)
AT64 = dataclasses.replace(PIXELS, image_size=64)

PREFIX = """
about: of a test
images: {set: examples}
image_size: 64
num_tokens: 8
metrics: [psnr, codes]
"""


# --- how many tokens -------------------------------------------------------------------------------------------------


def test_eval_by_a_protocol_of_eight_tokens_spends_eight_and_says_so(tmp_path, capsys):
    (tmp_path / "eight.yaml").write_text(PREFIX)
    (tmp_path / "all.yaml").write_text(PREFIX.replace("num_tokens: 8\n", ""))
    found = {}
    for name in ("eight", "all"):
        given = ["eval", "one_d_piece_nano.photos64", "--data", str(PHOTOS), "--out", str(tmp_path / "results")]
        assert main([*given, "--protocol", str(tmp_path / f"{name}.yaml")]) == 0
        found[name] = read_result(tmp_path / "results" / name / "one_d_piece_nano.photos64.json")
    assert "num_tokens 8" in capsys.readouterr().out
    assert (found["eight"].asked, found["all"].asked) == ({"num_tokens": 8}, {})
    eight, whole = found["eight"].scores, found["all"].scores
    assert (eight["tokens_per_image"].value, whole["tokens_per_image"].value) == (8, 32)
    assert eight["bits_per_pixel"].value == 8 * 12 / 64**2 == whole["bits_per_pixel"].value / 4
    assert eight["psnr"].value < whole["psnr"].value - 1


@pytest.mark.parametrize("family", ["alit", "karl", "gpstoken", "flextok"])
def test_tokenizers_that_take_a_number_of_tokens_are_asked_for_it(tmp_path, family):
    tok = tiny(family)
    side, wanted = tok.image_size, {"alit": 8, "karl": 6, "gpstoken": 3, "flextok": 3}[family]
    wanted = tok.config.round_tokens if family == "alit" else wanted
    subject = tokenizer_subject(tok, family, encoding={"num_tokens": wanted})
    found = evaluated(subject, tmp_path, chosen=dataclasses.replace(PIXELS, image_size=side, num_tokens=wanted))
    assert found.scores["tokens_per_image"].value == wanted


@torch.no_grad()
def test_the_error_that_is_asked_for_reaches_the_encoder():
    tok = tiny("karl")
    for parameter in tok.encoder.halting.parameters():
        parameter.data *= 40  # untrained, it never halts
    images = torch.stack([torch.from_numpy(Pictures()[index][:16, :16]) for index in range(COUNT)])
    images = images.permute(0, 3, 1, 2) / 255
    counts = {}
    for error in (0.005, 0.38):
        counts[error] = tokenizer_subject(tok, "karl", encoding={"max_error": error}).reconstruct(images, 0).tokens
        assert torch.equal(counts[error], tok.encode(images, max_error=error).lengths)
    assert not torch.equal(counts[0.005], counts[0.38])


def test_what_a_tokenizer_cannot_be_asked_for_is_refused():
    with pytest.raises(ValueError, match=r"titok_nano\.photos64 cannot be asked for num_tokens: choose another"):
        load_subject("titok_nano.photos64", encoding={"num_tokens": 8})
    with pytest.raises(ValueError, match=r"cannot be asked for max_error"):
        load_subject("one_d_piece_nano.photos64", encoding={"max_error": 0.1})
    with pytest.raises(ValueError, match="decodes 1 to 32 tokens; asked for 64"):
        load_subject("one_d_piece_nano.photos64", encoding={"num_tokens": 64})
    with pytest.raises(ValueError, match="is of video, and `tokzoo eval` measures images"):
        load_subject("open_magvit2_video.ucf101")
    with pytest.raises(ValueError, match="exchanges tokens: it cannot ask for num_tokens too"):
        dataclasses.replace(PIXELS, num_tokens=8, perturbation=Perturbation(tokens=0.5, neighbours=4))


# --- at which size ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_protocol_judged_at_another_size_compares_with_originals_cropped_to_it(tmp_path):
    chosen = dataclasses.replace(AT64, crop="adm", rounding="float", judged_size=32)
    subject = load_subject("titok_nano.photos64")
    photos = ImageFolder(PHOTOS)
    found = evaluated(subject, tmp_path, photos, chosen)
    originals, given = (
        torch.stack(
            [torch.from_numpy(np.array(adm_crop(Image.fromarray(photos[index]), size))) for index in range(len(photos))]
        ).permute(0, 3, 1, 2)
        / 255
        for size in (32, 64)
    )
    made = plain_bicubic(subject.reconstruct(given, 0).images, (32, 32)).clamp(0, 1)
    assert found.scores["psnr"].value == pytest.approx(float(psnr(made, originals).mean()), abs=1e-3)
    assert found.scores["l1"].value == pytest.approx(float((made - originals).abs().mean()), abs=1e-5)
    assert found.scores["bits_per_pixel"].value == 32 * 12 / 64**2  # of what was encoded
    assert found.asked == {"image_size": 64, "judged_size": 32}
    assert chosen.sha256 != dataclasses.replace(chosen, judged_size=None).sha256


def test_a_reference_has_the_size_at_which_samples_are_judged(tmp_path):
    chosen = protocol(image_size=64, judged_size=SIZE, reference="set", metrics=("fd",))
    np.savez(tmp_path / "reference.npz", arr_0=np.zeros((5, SIZE, SIZE, 3), np.uint8))
    assert len(open_reference(tmp_path / "reference.npz", chosen)) == 5
    np.savez(tmp_path / "made.npz", arr_0=np.zeros((5, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"is of 32x32 images; the samples of .* are 64x64"):
        open_reference(tmp_path / "made.npz", chosen)


def test_samples_that_were_made_large_and_those_that_were_resized_already_score_alike(tmp_path):
    chosen = protocol(image_size=64, judged_size=SIZE, reference="set", metrics=("fd",))
    large = torch.stack([torch.from_numpy(Pictures()[index][:32, :32]) for index in range(COUNT)]).permute(0, 3, 1, 2)
    large = torch.nn.functional.interpolate(large.float(), scale_factor=2)
    small = plain_bicubic(large, (SIZE, SIZE)).clamp(0, 255).round()
    found = {}
    for name, images in (("large", large), ("small", small)):
        np.savez(tmp_path / f"{name}.npz", arr_0=images.permute(0, 2, 3, 1).numpy().astype(np.uint8))
        opened = open_evaluation(str(tmp_path / f"{name}.npz"), chosen)
        settings = run.Settings(work=tmp_path / name, batch_size=8)
        found[name] = run.evaluate(opened.subject, opened.photos, chosen, settings, reference_set=Pictures())
    one, other = (found[name].scores["fd_effnet_lite0"].value for name in ("large", "small"))
    assert one == pytest.approx(other, rel=1e-3)  # halves may be rounded either way
    np.savez(tmp_path / "other.npz", arr_0=np.zeros((5, 48, 48, 3), np.uint8))
    with pytest.raises(ValueError, match=r"is of 64x64 or 32x32 images; the samples of .* are 48x48"):
        open_evaluation(str(tmp_path / "other.npz"), chosen)


def test_plain_bicubic_keeps_a_ramp_and_does_not_antialias():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(1, 1, 64, 64)
    halved = plain_bicubic(ramp, (32, 32))
    assert torch.allclose(halved[..., 2:-2], torch.nn.functional.avg_pool2d(ramp, 2)[..., 2:-2], atol=1e-6)
    stripes = torch.tensor([0.0, 1.0, 1.0]).repeat(32)[:64].expand(1, 1, 64, 64)
    assert plain_bicubic(stripes, (16, 16)).std() > 0.3  # an antialiased one is nearly grey


# --- crops, distances ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 55), (31, 90), (33, 33), (20, 21)])
def test_the_padded_centre_crop_is_torchvisions(size):
    transforms = import_with_torchvision("torchvision.transforms")
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    ours = np.array(CROPS["padded_centre"](Image.fromarray(noise), 32))
    assert np.array_equal(ours, np.array(transforms.CenterCrop(32)(Image.fromarray(noise))))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_lpips_of_unit_range_is_given_the_images_as_they_are():
    lpips = import_with_torchvision("lpips")
    backbone = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).net.state_dict()
    network = LpipsLoss("alex", backbone=backbone)
    images, other = torch.rand(2, 2, 3, SIZE, SIZE)
    found = {}
    for given in ("signed", "unit"):
        measure = Measure(protocol(metrics=("psnr",), extractor=None, rounding="float", lpips_range=given), None, None)
        measure.lpips = {"alex": network}
        found[given] = measure(images, Reconstruction(other))["lpips_alex"]
    assert found["unit"] == pytest.approx(network.network(other, images).flatten().numpy(), rel=1e-4)
    assert found["unit"].mean() < found["signed"].mean()


def test_dreamsim_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamsim", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"pip install 'tokzoo\[dreamsim\]'"):
        evaluated(load_subject("identity"), tmp_path, chosen=protocol(metrics=("dreamsim",), extractor=None))


# --- not here --------------------------------------------------------------------------------------------------------


def test_a_protocol_that_tokzoo_does_not_measure_by_says_who_does(tmp_path, capsys):
    assert main(["eval", "identity", "--data", str(PHOTOS), "--protocol", "geneval", "--out", str(tmp_path)]) == 1
    assert "does not measure by protocol geneval: it needs GenEval's captions" in capsys.readouterr().err
    with pytest.raises(ValueError, match="needs metrics, or says in `elsewhere` why it has none"):
        protocol(metrics=(), extractor=None)
    subject = Subject(name="x", kind="samples", reconstruct=lambda images, first: Reconstruction(images))
    with pytest.raises(ValueError, match="does not measure by protocol tiny: nobody does"):
        evaluated(subject, tmp_path, chosen=protocol(metrics=(), extractor=None, elsewhere="nobody does"))
