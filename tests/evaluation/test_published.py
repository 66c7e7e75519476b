"""Every published number is of one named protocol, and stands beside a measured one only where both were made alike."""

import dataclasses
from fnmatch import fnmatchcase

import pytest
import torch

import tokzoo
from tests.evaluation.test_evaluation import SIZE, Pictures, evaluated, protocol
from tests.evaluation.test_opening import StandIn
from tokzoo.evaluation import run
from tokzoo.evaluation.opening import open_evaluation
from tokzoo.evaluation.protocol import ImageSet, Published, list_protocols, load_protocol
from tokzoo.evaluation.published import protocols_of, published_lines
from tokzoo.evaluation.samples import generator_subject
from tokzoo.evaluation.subjects import load_subject
from tokzoo.registry import Score, find, list_models

REGISTERED = [(name, score) for name in list_models(pretrained=True) for score in find(name)[1].scores]


def test_every_registered_score_is_of_one_named_protocol_that_measures_it():
    of = {(name, score.metric, score.protocol): protocols_of(score) for name, score in REGISTERED}
    assert len(of) > 150
    assert {key: names for key, names in of.items() if len(names) != 1} == {}


@pytest.mark.parametrize("name", list_protocols())
def test_what_a_protocol_says_of_published_scores_is_registered_and_what_it_measures(name):
    chosen = load_protocol(name)
    codes = {"code_usage", "code_perplexity", "code_entropy_bits"} if "codes" in chosen.metrics else set()
    measured = {chosen.label(metric) for metric in chosen.metrics} | codes | {"tokens_per_image"}
    for entry in chosen.published:
        assert entry.scores.keys() & {score.metric for _, score in REGISTERED}
        assert chosen.elsewhere or set(entry.scores.values()) <= measured
        for text in entry.texts:
            assert any(fnmatchcase(score.protocol, text) for _, score in REGISTERED), text


def test_published_numbers_stand_beside_measured_ones_only_under_their_protocol(tmp_path):
    theirs = Published(texts=("theirs, * steps",), scores={"PSNR": "psnr"})
    plain = protocol(metrics=("psnr",), extractor=None, published=(theirs,))
    result = evaluated(load_subject("mean_image"), tmp_path, chosen=plain)
    fewer = dataclasses.replace(result, departures=["8 images instead of 22"])
    scores = [Score(metric="PSNR", value=20.0, protocol=text) for text in ("theirs, 8 steps", "another")]
    same, other = published_lines(result, plain, scores)
    assert f"PSNR 20 (theirs, 8 steps): measured {result.scores['psnr'].value:.4g}" in same
    assert "the protocol has no hash" in same
    assert "another protocol than tiny, not comparable" in other
    assert "not comparable, for this run has 8 images instead" in published_lines(fewer, plain, scores)[0]
    assert "this run has guidance 2" in published_lines(result, plain, scores, unlike="guidance 2")[0]
    vague = dataclasses.replace(plain, published=(dataclasses.replace(theirs, unknown=("the crop",)),))
    assert published_lines(result, vague, scores)[0].endswith("not comparable, for nobody says the crop")


def test_a_score_of_another_protocol_is_told_with_that_protocols_name(tmp_path):
    photos64 = protocol(metrics=("psnr",), extractor=None)
    result = evaluated(load_subject("identity"), tmp_path, chosen=photos64)
    scores = find("titok_l32.in1k")[1].scores
    assert published_lines(result, photos64, scores)[0].endswith("not comparable: in1k_256_titok")


def test_a_generators_published_numbers_are_of_its_published_guidance(tmp_path, monkeypatch):
    pipe = StandIn()
    pipe.generator.name = "rar_b.in1k"
    monkeypatch.setattr(tokzoo, "pipeline", lambda name: pipe)
    chosen = protocol(images=ImageSet(set="samples", count=12), classes=3, reference="set", metrics=("fd",))
    published = load_protocol("in1k_256_gfid_truncated").published
    chosen = dataclasses.replace(
        chosen, published=(Published(texts=published[0].texts, scores={"gFID": "fd_effnet_lite0"}),)
    )
    said = {}
    for guidance in (None, 2.0):
        opened = open_evaluation("rar_b", chosen, guidance=guidance)
        settings = run.Settings(work=tmp_path / str(guidance), batch_size=6)
        result = run.evaluate(opened.subject, opened.photos, chosen, settings, reference_set=Pictures())
        said[guidance] = published_lines(result, chosen, opened.subject.scores, unlike=opened.subject.unlike)
    assert "published gFID 1.95" in said[None][0] and ": measured " in said[None][0]
    assert said[2.0][0].endswith("not comparable, for this run has guidance 2 instead of the published one")


def test_classes_are_drawn_alike_whenever_they_are_drawn():
    pipe, drawn = (
        StandIn(),
        protocol(
            images=ImageSet(set="samples", count=12), classes=1000, labels="drawn", reference="set", metrics=("fd",)
        ),
    )
    for _ in range(2):
        generator_subject(pipe, "pair", drawn).reconstruct(torch.zeros(6, 3, SIZE, SIZE), 6)
    (first, *_), (second, *_) = pipe.asked
    assert first == second != list(range(6, 12))
    assert all(0 <= number < 1000 for number in first)
    assert drawn.sha256 != dataclasses.replace(drawn, labels="in_turn").sha256


def test_a_metric_that_a_published_text_does_not_map_is_of_no_protocol():
    text = "ImageNet val 50k, 256x256, authors' evaluator; README of bytedance/1d-tokenizer"
    assert protocols_of(Score(metric="rFID", value=1.0, protocol=text)) == ["in1k_256_titok"]
    assert protocols_of(Score(metric="PSNR", value=1.0, protocol=text)) == []


# of protocols by which results were, or may have been, recorded: a new field or word must not change it
RECORDED = {
    "imagenet500_256": "c3a7dd557810",
    "in1k_256_gfid": "5a953d21f249",
    "in1k_256_llamagen": "f16370a581ef",
    "in1k_256_seed_voken": "be4b3830ca0a",
    "in1k_256_seed_voken_pixels": "cc9b507dc72f",
    "in1k_256_tatitok": "dd7bb1ecb88e",
    "in1k_256_titok": "31d047241f50",
    "kodak6_256": "70d53ed02d16",
    "labelled64_gfd": "3479cec60234",
    "photos64": "85ce0f0b4689",
    "photos64_perturbed": "9d0f2ccdafca",
    "photos64_pixels": "fd9201357123",
}


@pytest.mark.parametrize("name", RECORDED)
def test_protocols_of_recorded_results_keep_their_hash(name):
    assert load_protocol(name).sha256.startswith(RECORDED[name])
