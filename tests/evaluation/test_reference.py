"""Features of a reference set are taken once, and a kept file changes no number: not when used, stale or damaged."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluation import COUNT, SIZE, Pictures, drawn, protocol
from tokzoo.evaluation import run
from tokzoo.evaluation.protocol import Network
from tokzoo.evaluation.reference import KeptFeatures, reference_features
from tokzoo.evaluation.samples import Blank, generated
from tokzoo.evaluation.scoring import Share
from tokzoo.metrics.extractors import Extractor, build_extractor

UNPAIRED = protocol(reference="set", metrics=("fd", "manifold"))
BATCH = 11
BATCHES = COUNT // BATCH


@contextmanager
def counted_batches() -> Iterator[list[torch.Size]]:
    """The shapes of what extractors see in the block."""
    seen: list[torch.Size] = []

    def note(module, given, _):
        if isinstance(module, Extractor):
            seen.append(given[0].shape)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        yield seen
    finally:
        hook.remove()


class OneRetouched(Pictures):
    """The pictures, but for one bit of one of them."""

    def __getitem__(self, index: int) -> np.ndarray:
        picture = super().__getitem__(index)
        if index == 7:
            picture[20, 20] ^= 1
        return picture


@cache
def network(side: int) -> Extractor:
    return build_extractor("effnet_lite0", side=side)


def taken(tmp_path, name, *, pictures=None, chosen=UNPAIRED, **settings):
    """How many batches the extractor saw, and features and digests; `name` is of the run."""
    settings = run.Settings(**{"work": tmp_path / name, "batch_size": BATCH, "cache": tmp_path / "kept", **settings})
    side = chosen.extractor.settings["side"]
    with counted_batches() as seen:
        arrays = reference_features(pictures or Pictures(most=99), chosen, network(side), settings)
    return len(seen), arrays


def same(ours, theirs) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_a_second_run_does_not_ask_the_network_and_no_bit_differs(tmp_path):
    without, plain = taken(tmp_path, "a", cache=None)
    first, fresh = taken(tmp_path, "b")
    second, kept = taken(tmp_path, "c")
    assert (without, first, second) == (BATCHES, BATCHES, 0)
    assert same(fresh, plain)
    assert same(kept, plain)


def test_scores_of_kept_features_are_the_same(tmp_path):
    def judged(name, cache):
        settings = run.Settings(work=tmp_path / name, batch_size=BATCH, cache=cache)
        return run.evaluate(
            generated("stand_in", drawn), Blank(18, SIZE), UNPAIRED, settings, reference_set=Pictures(most=99)
        )

    taken(tmp_path, "a")
    plain, kept = judged("b", None), judged("c", tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert (kept.scores, kept.images) == (plain.scores, plain.images)


@pytest.mark.parametrize(
    "change",
    [
        {"pictures": OneRetouched(most=99)},
        {"chosen": dataclasses.replace(UNPAIRED, extractor=Network(name="effnet_lite0", settings={"side": 40}))},
        {"chosen": dataclasses.replace(UNPAIRED, rounding="float")},
        {"chosen": dataclasses.replace(UNPAIRED, crop="lanczos")},
        {"batch_size": 22},
    ],
    ids=["a pixel", "the extractor", "the rounding", "the crop", "the batches"],
)
def test_what_changes_the_features_makes_another_file(tmp_path, change):
    taken(tmp_path, "a")
    calls, _ = taken(tmp_path, "b", **change)
    assert calls > 0
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda held: b"",
        lambda held: held[:-100],
        lambda held: held[:5000] + bytes([held[5000] ^ 1]) + held[5001:],
    ],
    ids=["emptied", "cut", "a bit"],
)
def test_a_damaged_file_is_told_and_made_anew(tmp_path, damage):
    _, whole = taken(tmp_path, "a")
    (file,) = (tmp_path / "kept").iterdir()
    held = file.read_bytes()
    file.write_bytes(damage(held))
    with pytest.warns(UserWarning, match="is damaged: the features are taken anew"):
        calls, again = taken(tmp_path, "b")
    assert calls == BATCHES
    assert same(again, whole)
    assert file.read_bytes() == held


def test_a_folder_that_cannot_be_written_costs_a_warning_and_no_features(tmp_path):
    _, whole = taken(tmp_path, "a", cache=None)
    (tmp_path / "kept").write_text("a file where the folder would be")
    with pytest.warns(match="cannot read kept features"), pytest.warns(match="are not kept"):
        _, arrays = taken(tmp_path, "b")
    assert same(arrays, whole)


def test_the_first_process_hands_kept_features_to_all_and_every_process_waits_as_often(tmp_path):
    def both(name):
        """The second process first, as it has nothing to hand on. Batches of both, waits of each, the arrays."""
        waits = ([], [])
        other, nothing = taken(tmp_path, name, share=Share(1, 2, lambda: waits[1].append(1)))
        one, arrays = taken(tmp_path, name, share=Share(0, 2, lambda: waits[0].append(1)))
        assert nothing == {}
        assert waits[0] == waits[1]
        return one + other, arrays

    calls, whole = both("a")
    assert calls == BATCHES
    again = taken(tmp_path, "b", share=Share(0, 2))[1]
    assert taken(tmp_path, "b", share=Share(1, 2)) == (0, {})
    assert same(again, whole)


def test_kept_arrays_come_back_as_they_were(tmp_path):
    arrays = {"features": np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)}
    kept = KeptFeatures(tmp_path, {"pixels": "a"})
    assert kept.read() is None
    kept.write(arrays)
    assert same(kept.read(), arrays)
    assert KeptFeatures(tmp_path, {"pixels": "b"}).read() is None
