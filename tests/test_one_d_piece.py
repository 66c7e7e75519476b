"""One-D-Piece: any prefix decodes, hidden tokens are as absent, tail token drop follows the training's generator."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tokzoo
from eval import prefixes
from tests.helpers import some_images, tiny
from tokzoo.registry import architectures
from tokzoo.training.config import LossConfig, OptimizerConfig, TrainConfig
from tokzoo.training.loop import train
from tokzoo.training.recipes import build_model


@pytest.mark.parametrize("length", [1, 3, 8])
@torch.no_grad()
def test_any_prefix_decodes_and_hiding_the_rest_is_the_same_as_cutting_it(length: int) -> None:
    tok = tiny("one_d_piece")
    tokens = tok.encode(some_images(tok))
    hidden = replace(tokens, valid=(torch.arange(8) < length).expand(2, -1))
    cut = tok.decode(tokens[:, :length], clamp=False)
    torch.testing.assert_close(tok.decode(hidden, clamp=False), cut, atol=1e-5, rtol=0)
    output = tok(some_images(tok), length=torch.tensor(length))
    torch.testing.assert_close(output.reconstruction, cut, atol=1e-5, rtol=0)


@torch.no_grad()
def test_every_image_of_a_batch_may_keep_another_length() -> None:
    tok = tiny("one_d_piece")
    tokens = tok.encode(some_images(tok))
    lengths = torch.tensor([[2], [7]])
    together = tok.decode(replace(tokens, valid=torch.arange(8) < lengths))
    for row, length in enumerate(lengths.flatten().tolist()):
        torch.testing.assert_close(together[row : row + 1], tok.decode(tokens[row, :length]), atol=1e-5, rtol=0)


def test_no_tokens_are_refused() -> None:
    tok = tiny("one_d_piece")
    with pytest.raises(ValueError, match="decodes 1 to 8 tokens; got 0"):
        tok.decode(tok.encode(some_images(tok))[:, :0])


def test_tail_drop_draws_every_length_from_the_generator_alone_and_can_be_off() -> None:
    tok = tiny("one_d_piece")
    images = some_images(tok)
    draws = [int(tok.training_draws(images, torch.Generator().manual_seed(seed))["length"]) for seed in range(200)]
    assert sorted(set(draws)) == list(range(1, 9))
    again = [int(tok.training_draws(images, torch.Generator().manual_seed(seed))["length"]) for seed in range(20)]
    assert draws[:20] == again
    assert tiny("one_d_piece", tail_drop=False).training_draws(images, torch.Generator()) == {}


def test_one_graph_serves_every_length() -> None:
    tok = tiny("one_d_piece")
    images, seen = some_images(tok), []

    def backend(graph: torch.fx.GraphModule, _: list) -> torch.fx.GraphModule:
        seen.append(graph)
        return graph

    compiled = torch.compile(tok, backend=backend, fullgraph=True)
    for length in (1, 5, 8):
        made = compiled(images, length=torch.tensor(length)).reconstruction
        torch.testing.assert_close(made, tok(images, length=torch.tensor(length)).reconstruction)
    assert len(seen) == 1


def test_the_nano_has_the_names_and_shapes_of_titok_nano() -> None:
    with torch.device("meta"):
        one, other = (
            {key: value.shape for key, value in tokzoo.create_model(name).state_dict().items()}
            for name in ("one_d_piece_nano", "titok_nano")
        )
    assert one == other


# --- training and its measure ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four squares on plain grounds, a third of them held out."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(24):
        picture = np.full((20, 20, 3), generator.integers(0, 120, 3), dtype=np.uint8)
        top, left = generator.integers(0, 12, 2)
        picture[top : top + 8, left : left + 8] = generator.integers(130, 255, 3)
        Image.fromarray(picture).save(folder / f"{number:02}.png")
        rows.append({"file": f"{number:02}.png", "split": "train" if number % 3 else "val"})
    with (folder / "manifest.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, ["file", "split"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def config(photos: Path, out: Path, **changes: object) -> TrainConfig:
    base = TrainConfig(
        data=str(photos),
        out=str(out),
        model="one_d_piece_nano",
        split="train",
        val_split="val",
        steps=6,
        batch_size=8,
        loss=LossConfig(perceptual=0.0),
        optimizer=OptimizerConfig(lr=1e-3, warmup=2),
        ema=0.9,
        device="cpu",
        precision="float32",
        log_every=1,
        eval_every=6,
        save_every=3,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def small_titok(folder: Path, **changes: object) -> Path:
    size = {"width": 32, "depth": 1, "num_heads": 2}
    sizes = dict(image_size=16, patch_size=4, num_tokens=8, encoder=size, decoder=size, codebook_size=16, code_dim=6)
    torch.manual_seed(0)
    return tokzoo.create_model("titok_nano", **{**sizes, **changes}).save_pretrained(folder)


def overrides(**more: object) -> dict:
    size = {"width": 32, "depth": 1, "num_heads": 2}
    sizes = dict(image_size=16, patch_size=4, num_tokens=8, encoder=size, decoder=size, codebook_size=16, code_dim=6)
    return {**sizes, **more}


def test_it_starts_from_titoks_weights_goes_on_after_a_stop_and_learns_otherwise_without_tail_drop(
    photos: Path, tmp_path: Path
) -> None:
    start = str(small_titok(tmp_path / "titok"))
    whole = config(photos, tmp_path / "whole", overrides=overrides(), init=start)
    begun = build_model(whole)
    assert type(begun).__name__ == "OneDPiece"
    assert torch.equal(begun.encoder.queries, tokzoo.from_pretrained(start).encoder.queries)
    train(whole)
    broken = replace(whole, out=str(tmp_path / "broken"), save_every=1)
    train(replace(broken, max_seconds=0.0))
    train(broken)
    off = train(config(photos, tmp_path / "off", overrides=overrides(tail_drop=False), init=start))
    whole, again, other = (
        tokzoo.from_pretrained(folder / "final") for folder in (tmp_path / "whole", tmp_path / "broken", off.parent)
    )
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in whole.state_dict().items())
    assert not torch.equal(whole.decoder.embed.weight, other.decoder.embed.weight)
    assert whole.config.tail_drop and not other.config.tail_drop

    prefixes.main([str(tmp_path / "whole/final"), str(off), "--photos", str(photos), "--out", str(tmp_path / "r.json")])
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["photos"]["val"] == 8 and result["versions"]["torch"] == torch.__version__
    assert [curve["lengths"] for curve in result["curves"]] == [[0, 1, 2, 4, 8]] * 2


def test_weights_of_another_architecture_must_fit_whole(photos: Path, tmp_path: Path) -> None:
    start = str(small_titok(tmp_path / "titok", num_tokens=4))
    with pytest.raises(ValueError, match=r"does not fit this model, nothing was loaded: .*encoder.queries \(4, 32\)"):
        build_model(config(photos, tmp_path / "run", overrides=overrides(), init=start))


def test_a_curve_says_whether_it_falls_and_what_its_first_quarter_carries() -> None:
    falling = prefixes.PrefixCurve("a", [0, 1, 2, 4, 8], [1.0, 0.6, 0.4, 0.3, 0.2], [0.0] * 5)
    assert falling.falls and falling.first_quarter == pytest.approx(0.75)
    assert not replace(falling, mse=[1.0, 1.1, 0.4, 0.3, 0.2]).falls
    untrained = replace(falling, mse=[1.0, 1.3, 1.2, 1.1, 1.05])
    assert untrained.first_quarter is None and "no better than the mean image" in prefixes.report(untrained)
    assert "the first quarter carries 75.0% of its fall" in prefixes.report(falling)
    assert prefixes.prefix_lengths(32) == [0, 1, 2, 4, 8, 16, 32] and prefixes.prefix_lengths(20) == [
        *(0, 1, 2, 4, 5, 8, 16, 20)
    ]


def test_a_tokenizer_without_prefixes_is_refused() -> None:
    tok = tiny("titok")
    with pytest.raises(ValueError, match="do not decode"):
        prefixes.measure(tok, torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(3, 16, 16))


def test_published_sizes_are_ordered_with_256_tokens_of_12_bits() -> None:
    for size in "sbl":
        with torch.device("meta"):
            tok = tokzoo.create_model(f"one_d_piece_{size}256")
        assert tok.token_spec.ordered and tok.token_spec.lengths == (1, 256) and tok.token_spec.bits_per_token == 12
    assert architectures()["one_d_piece_l256"].weights[0].scores[0].value == 1.08
