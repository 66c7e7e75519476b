"""Every published number is of one named protocol, and stands beside a measured one only where both were made alike."""

import dataclasses

import pytest

from tests.evaluation.test_evaluation import evaluated, protocol
from tokzoo import registry
from tokzoo.evaluation.protocol import Published, load_protocol
from tokzoo.evaluation.published import protocols_of, published_lines
from tokzoo.evaluation.subjects import load_subject
from tokzoo.registry import Score

SCORES = [
    pytest.param(score, id=f"{name} {score.metric} {score.protocol[:40]}")
    for name in registry.list_models(pretrained=True)
    for score in registry.find(name)[1].scores
]


@pytest.mark.parametrize("score", SCORES)
def test_every_registered_score_is_of_one_named_protocol_that_measures_it(score):
    assert len(protocols_of(score)) == 1


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
    scores = registry.find("titok_l32.in1k")[1].scores
    assert published_lines(result, photos64, scores)[0].endswith("not comparable: in1k_256_titok")


def test_a_metric_that_a_published_text_does_not_map_is_of_no_protocol():
    text = "ImageNet val 50k, 256x256, authors' evaluator; README of bytedance/1d-tokenizer"
    assert protocols_of(Score(metric="rFID", value=1.0, protocol=text)) == ["in1k_256_titok"]
    assert protocols_of(Score(metric="PSNR", value=1.0, protocol=text)) == []


# what results were recorded by: a new field or word must not change it
RECORDED = {
    "imagenet500_256": "c3a7dd557810",
    "kodak6_256": "70d53ed02d16",
    "labelled64_gfd": "3479cec60234",
    "photos64": "85ce0f0b4689",
    "photos64_perturbed": "9d0f2ccdafca",
    "photos64_pixels": "fd9201357123",
}


@pytest.mark.parametrize("name", RECORDED)
def test_protocols_of_recorded_results_keep_their_hash(name):
    assert load_protocol(name).sha256.startswith(RECORDED[name])
