"""What a user names becomes what is evaluated: texts reach tokenizers that read them, classes reach generators."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tokzoo
from tests.evaluation.test_evaluation import COUNT, SIZE, Pictures, evaluated, protocol
from tests.test_conditions import SEEN, Guided
from tokzoo.evaluation import run
from tokzoo.evaluation.opening import open_evaluation
from tokzoo.evaluation.protocol import ImageSet, load_protocol
from tokzoo.evaluation.results import check_comparable
from tokzoo.evaluation.samples import Blank, generator_subject, is_generator, open_reference
from tokzoo.evaluation.subjects import tokenizer_subject
from tokzoo.tokenizers.tatitok.config import TINY

PLAIN = protocol(metrics=("psnr", "codes"), extractor=None, image_size=TINY.image_size)
NAMES = ("crow", "deer", "emu")


@pytest.fixture
def photos(tmp_path):
    """Three photos of each class, 32 pixels a side, below folders of its name."""
    for number, name in enumerate(NAMES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for place in range(3):
            pixels = Pictures()[3 * number + place][:SIZE, :SIZE]
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{place}.png")
    return tmp_path / "photos"


# --- texts -----------------------------------------------------------------------------------------------------------


def test_a_tokenizer_that_reads_text_is_given_the_caption_of_each_photo_or_an_empty_one(tmp_path):
    torch.manual_seed(0)
    tok = Guided(TINY).eval()
    labels = [f"bird {number}" for number in range(COUNT)]
    SEEN.clear()
    said = tokenizer_subject(tok, "guided", captions=lambda first, count: labels[first : first + count])
    with_text = evaluated(said, tmp_path / "a", chosen=PLAIN)
    assert [caption for batch in SEEN for caption in batch] == labels
    SEEN.clear()
    without = evaluated(tokenizer_subject(tok, "guided"), tmp_path / "b", chosen=PLAIN)
    assert set(SEEN) == {()}
    assert with_text.scores["psnr"] != without.scores["psnr"]
    assert with_text.scores["code_usage"] == without.scores["code_usage"]  # the text is for the decoder


def test_a_caption_makes_another_protocol_and_is_refused_where_nothing_reads_it(photos):
    chosen = load_protocol("photos64_pixels")
    chosen = dataclasses.replace(chosen, images=ImageSet(set="birds"))
    with pytest.raises(ValueError, match=r"titok_nano\.photos64 reads no text: leave the caption out"):
        open_evaluation("titok_nano.photos64", chosen, data=photos, caption="A photo of a {}.")
    assert open_evaluation("titok_nano.photos64", chosen, data=photos).protocol == chosen
    assert dataclasses.replace(chosen, caption="A {}.").sha256 != chosen.sha256
    flat = photos.parent / "flat"
    flat.mkdir()
    shutil.copy(photos / "crow" / "0.png", flat)
    with pytest.raises(ValueError, match="captions are made of labels, and these photos have none"):
        open_evaluation("identity", chosen, data=flat, caption="A {}.")


# --- generators ------------------------------------------------------------------------------------------------------


class StandIn:
    """A pipeline that paints a class in its colour; `asked` has its calls."""

    def __init__(self, classes: tuple[str, ...] = ()):
        self.classes, self.asked = classes, []
        self.generator = nn.Linear(2, 2)
        self.generator.name = "stand_in"

    def __call__(self, labels, *, seed, guidance=1.0):
        self.asked.append((list(labels), seed, guidance))
        numbers = [self.classes.index(label) if self.classes else label for label in labels]
        noise = torch.rand(len(numbers), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
        shade = torch.tensor(numbers).view(-1, 1, 1, 1) / 3
        return (noise * guidance * 0.2 + shade).clamp(0, 1)


BY_CLASS = protocol(
    images=ImageSet(set="samples", count=10),
    classes=NAMES,
    reference="set",
    metrics=("fd", "is", "kid", "manifold"),
    kid_subset_size=5,
    splits=2,
    image_size=SIZE,
)


def test_classes_come_in_turn_by_name_where_both_know_them_and_by_number_otherwise():
    named, numbered = StandIn(NAMES), StandIn()
    for pipe in (named, numbered):
        generator_subject(pipe, "pair", BY_CLASS).reconstruct(torch.zeros(4, 3, SIZE, SIZE), 8)
    assert named.asked == [(["emu", "crow", "deer", "emu"], 8, 1.0)]
    assert numbered.asked == [([2, 0, 1, 2], 8, 1.0)]
    with pytest.raises(ValueError, match="is not of samples by class"):
        generator_subject(named, "pair", protocol())


def test_the_scale_of_guidance_is_named_whether_it_was_asked_for_or_published():
    pipe = StandIn()
    assert generator_subject(pipe, "pair", BY_CLASS).name == "pair"
    pipe.generator.sampling = {"guidance": (1.9, 2.0)}  # of both halves of a token
    assert generator_subject(pipe, "pair", BY_CLASS).name == "pair guidance 1.9 2"
    assert generator_subject(pipe, "pair", BY_CLASS, guidance=3.0).name == "pair guidance 3"


def test_a_generator_is_scored_against_the_classes_of_a_set_and_goes_on_after_a_kill(photos, tmp_path, monkeypatch):
    (photos / "wolf").mkdir()
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(photos / "wolf" / "0.png")  # of no class of the protocol
    assert is_generator("rar_b") and not is_generator("titok_b64")
    pipe = StandIn(NAMES)
    monkeypatch.setattr(tokzoo, "pipeline", lambda name: pipe, raising=False)
    opened = open_evaluation("rar_b", BY_CLASS, data=photos, guidance=2.0)
    assert opened.subject.name == "rar_b guidance 2" and set(opened.subject.weights) == {"generator"}
    assert len(opened.photos) == 10 and len(opened.reference) == 9

    def scored(folder):
        settings = run.Settings(work=tmp_path / folder, batch_size=4)
        return run.evaluate(opened.subject, opened.photos, BY_CLASS, settings, reference_set=opened.reference)

    whole = scored("a")
    names = {"fd", "is", "kid", "precision", "recall", "density", "coverage"}
    assert set(whole.scores) == {f"{name}_effnet_lite0" for name in names}
    assert (whole.kind, whole.images["count"], whole.images["reference_count"]) == ("samples", 10, 9)
    scored("b")
    (tmp_path / "b" / "batch-000001.npz").unlink()  # as if it had been killed before this batch was there
    pipe.asked.clear()
    assert scored("b").scores == whole.scores
    assert pipe.asked == [(["deer", "emu", "crow", "deer"], 4, 2.0)]


def test_samples_of_two_generators_are_comparable_and_another_reference_is_a_departure(photos, tmp_path):
    def scored(subject, chosen, folder):
        settings = run.Settings(work=tmp_path / folder, batch_size=8)
        return run.evaluate(subject, Blank(10, SIZE), chosen, settings, reference_set=open_reference(photos, chosen))

    fewer = dataclasses.replace(BY_CLASS, metrics=("fd",))
    one = scored(generator_subject(StandIn(NAMES), "one", fewer), fewer, "a")
    fixed = dataclasses.replace(fewer, reference_sha256=one.images["reference_sha256"])
    two = scored(generator_subject(StandIn(NAMES), "two", fixed, guidance=3.0), fixed, "b")
    assert two.departures == []
    check_comparable([dataclasses.replace(one, protocol_sha256=fixed.sha256), two], fixed)
    shutil.rmtree(photos / "emu")
    other = scored(generator_subject(StandIn(NAMES), "two", fixed), fixed, "c")
    assert other.departures[0].startswith("another reference: pixels ")


def test_a_reference_without_any_of_the_classes_is_refused(photos):
    with pytest.raises(ValueError, match=r"has a class of protocol tiny; its labels are crow, deer, emu"):
        open_reference(photos, dataclasses.replace(BY_CLASS, classes=("yak",)))


def test_options_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match="guidance is of generators; identity is none"):
        open_evaluation("identity", BY_CLASS, guidance=2.0)
    with pytest.raises(ValueError, match="does not say how many images a generator is to make"):
        open_evaluation("rar_b", dataclasses.replace(BY_CLASS, images=ImageSet(set="samples")))


def test_the_protocol_of_the_shipped_generators_names_their_classes():
    classes = load_protocol("labelled64_gfd").classes
    assert len(classes) == len(set(classes)) == 19
    assert (classes[0], classes[16]) == ("t-shirt", "airplanes")
