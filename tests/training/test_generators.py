"""Generators learn from cached tokens: what is cached, what is learned, and that a run goes on exactly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import tokzoo
from tests.helpers import tiny
from tokzoo.data.readers import ImageFolder
from tokzoo.data.tokens import CachedTokens, classes_of, split, tokenize
from tokzoo.training import TrainConfig, train
from tokzoo.training.checkpoints import load_newest
from tokzoo.training.config import GenerationConfig, OptimizerConfig
from tokzoo.training.export import averaged_model
from tokzoo.training.likelihood import Likelihood
from tokzoo.training.recipes import build_generator

COLOURS = {"green": (20, 200, 20), "blue": (20, 20, 200)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tokenizer, and the tokens of sixty photos of two classes."""
    root = tmp_path_factory.mktemp("labelled")
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / "photos" / name).mkdir(parents=True)
        for number in range(30):
            picture = np.clip(colour + generator.normal(0, 25, (20, 24, 3)), 0, 255).astype(np.uint8)
            left, top = generator.integers(0, 12, 2)
            picture[top : top + 8, left : left + 8] = generator.integers(0, 255, 3)
            Image.fromarray(picture).save(root / "photos" / name / f"{number:02}.png")
    tok = tiny("titok")
    some = tok.preprocess([*(root / "photos").rglob("0[0-1].png")])
    with torch.no_grad():  # codes that tell these photos apart
        tok.quantizer.codebook.copy_(tok.features(some).flatten(0, 1))
    tok.save_pretrained(root / "tok")
    tok = tokzoo.from_pretrained(root / "tok")
    tokenize(tok, ImageFolder(root / "photos"), root / "tokens", variants=3, held_out=0.1, batch_size=16)
    return root / "tok", root / "tokens"


def config(cache: tuple[Path, Path], out: Path, **changes: object) -> TrainConfig:
    model = changes.pop("model", {"name": "gpt_nano", "width": 32, "depth": 1, "num_heads": 2, "table_width": 16})
    base = TrainConfig(
        data=str(cache[1]),
        out=str(out),
        tokenizer=str(cache[0]),
        model=model,  # type: ignore[arg-type]
        steps=12,
        batch_size=16,
        optimizer=OptimizerConfig(lr=1e-2, muon_lr=1e-2, warmup=2),
        ema=0.9,
        device="cpu",
        precision="float32",
        workers=1,
        log_every=1,
        eval_every=6,
        save_every=4,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def rows(run: Path, name: str) -> dict[int, float]:
    lines = [yaml.safe_load(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def test_variants_are_the_photos_mirrored_and_cropped_and_held_out_ones_are_not_among_them(
    cache: tuple[Path, Path],
) -> None:
    tok = tokzoo.from_pretrained(cache[0])
    photos = ImageFolder(cache[1].parent / "photos")
    data = CachedTokens.read(cache[1], tok)
    learned, kept = split(photos.labels, 0.1, 0)
    assert data.classes == ("blue", "green") == classes_of(cache[1])
    assert len(kept) == 6 and len(data) == 54 == len(learned) and not set(kept) & set(learned)
    indices = data.learned.tokens.indices.view(3, 54, 4)
    assert data.learned.prepared == {}
    images = tok.preprocess([photos[index] for index in learned[:4]])
    assert torch.equal(indices[0, :4], tok.encode(images).indices)
    assert torch.equal(indices[1, :4], tok.encode(images.flip(-1)).indices)
    assert not torch.equal(indices[2], indices[0])
    images = tok.preprocess([photos[index] for index in kept])
    assert torch.equal(data.held_out.tokens.indices, tok.encode(images).indices)


def test_a_batch_is_a_function_of_seed_and_step_and_an_epoch_shows_every_photo(cache: tuple[Path, Path]) -> None:
    data = CachedTokens.read(cache[1], tokzoo.from_pretrained(cache[0]))
    tokens, labels, _ = data.batch(3, seed=1, batch_size=18)
    again, _, _ = data.batch(3, seed=1, batch_size=18)
    assert torch.equal(tokens.indices, again.indices) and tokens.levels == (16,)
    epoch = torch.cat([data.batch(step, seed=1, batch_size=18)[1] for step in range(3)])
    assert torch.bincount(epoch).tolist() == torch.bincount(data.learned.labels[:54]).tolist()
    assert len(labels) == 18


def test_shards_that_are_there_stay_and_another_tokenizer_is_refused(cache: tuple[Path, Path], tmp_path: Path) -> None:
    file = cache[1] / "train-001.tkz"
    before = file.stat().st_mtime_ns
    tok = tokzoo.from_pretrained(cache[0])
    tokenize(tok, ImageFolder(cache[1].parent / "photos"), cache[1], variants=3, held_out=0.1)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="the file holds tokens of"):
        CachedTokens.read(cache[1], tokzoo.create_model("titok_nano"))
    with pytest.raises(FileNotFoundError, match="tokzoo tokenize"):
        CachedTokens.read(tmp_path, tok)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "gpt_nano", "width": 32, "depth": 1, "num_heads": 2, "table_width": 16, "dropout": 0.2},
        {"name": "rar_b", "width": 32, "depth": 1, "num_heads": 2, "mlp_dim": 64},
        {"name": "maskgit_nano", "width": 32, "depth": 1, "num_heads": 2, "mlp_dim": 64, "table_width": 16},
    ],
    ids=lambda model: model["name"],
)
def test_a_run_learns_and_goes_on_exactly(cache: tuple[Path, Path], tmp_path: Path, model: dict) -> None:
    whole = config(cache, tmp_path / "whole", model=model)
    broken = replace(whole, out=str(tmp_path / "broken"), max_seconds=0.0)
    final = train(whole)
    train(broken)
    assert load_newest(tmp_path / "broken").step == 1
    train(replace(broken, max_seconds=None))
    assert rows(tmp_path / "whole", "loss") == rows(tmp_path / "broken", "loss")
    held_out = rows(tmp_path / "whole", "val_loss")
    assert held_out[12] < held_out[6] < np.log(16) + 0.5
    made = tokzoo.from_pretrained(final)
    assert made.classes == ("blue", "green") and made.tokenizer == str(cache[0])
    assert tokzoo.pipeline(final)("green", seed=0).shape == (1, 3, 16, 16)
    averaged, _ = averaged_model(tmp_path / "whole")
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in averaged.state_dict().items())


def test_tokens_of_several_codes_are_learned_from_the_cache(cache: tuple[Path, Path], tmp_path: Path) -> None:
    tok = tiny("wetok")
    tok.save_pretrained(tmp_path / "tok")
    tok = tokzoo.from_pretrained(tmp_path / "tok")
    tokenize(tok, ImageFolder(cache[1].parent / "photos"), tmp_path / "tokens", variants=1, held_out=0.1)
    model = {"name": "gpt_b", "width": 32, "depth": 1, "num_heads": 2, "multiple_of": 32}
    run = config((tmp_path / "tok", tmp_path / "tokens"), tmp_path / "run", model=model, steps=8, eval_every=4)
    final = train(run)
    held_out = rows(tmp_path / "run", "val_loss")
    assert held_out[8] < held_out[4]
    made = tokzoo.pipeline(final).tokens("green", seed=0)
    assert made.levels == (8, 8) and made.indices.shape == (1, 64, 2)


def test_layouts_and_textures_are_learned_from_one_cache(cache: tuple[Path, Path], tmp_path: Path) -> None:
    photos = ImageFolder(cache[1].parent / "photos")
    tiny("gpstoken").save_pretrained(tmp_path / "tok")
    tok = tokzoo.from_pretrained(tmp_path / "tok")
    tokenize(tok, photos, tmp_path / "tokens", variants=2, held_out=0.1, num_tokens=4)
    held_out = CachedTokens.read(tmp_path / "tokens", tok).held_out
    again = tok.encode(tok.preprocess([photos[row] for row in split(photos.labels, 0.1, 0)[1]]), **held_out.prepared)
    torch.testing.assert_close(held_out.tokens.geometry, again.geometry)
    sizes = dict(num_tokens=4, image_size=16, width=16, depth=1, num_heads=2)
    model = {"name": "gpstoken_sit_nano", **sizes, "layout_width": 16, "layout_depth": 1}
    run = config((tmp_path / "tok", tmp_path / "tokens"), tmp_path / "run", model=model, eval_every=6)
    final = train(run)
    losses = rows(tmp_path / "run", "val_loss")
    assert losses[12] < losses[6]
    pipe = tokzoo.pipeline(final)
    assert pipe.generator.config.means != (0.0,) * 9 and pipe.generator.layouts.means[0] < 0  # logarithms of scales
    made = pipe.tokens("green", num_samples=2, num_steps=3, seed=0)
    assert made.geometry.shape == (2, 4, 5) and pipe("blue", num_steps=3).shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"a Titok.* cuts no photo into regions: it takes no num_tokens=4"):
        tokenize(tokzoo.from_pretrained(cache[0]), photos, tmp_path / "other", num_tokens=4)


def test_a_generator_of_other_tokens_lends_all_but_the_codes(cache: tuple[Path, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = dict(width=32, depth=1, num_heads=2, table_width=16, num_classes=2)
    lent = tokzoo.create_model("gpt_nano", tokenizer=tiny("titok"), **sizes)
    lent.save_pretrained(tmp_path / "lent")
    begun = build_generator(config(cache, tmp_path / "run", init=str(tmp_path / "lent"), model=None))
    unlike = [key for key, value in begun.state_dict().items() if not torch.equal(value, lent.state_dict()[key])]
    assert unlike and all(key.endswith("codebook") for key in unlike)
    assert begun.tokenizer == str(cache[0]) and begun.classes == ("blue", "green")


def test_random_orders_give_way_to_raster() -> None:
    objective = Likelihood(GenerationConfig(random_until=0.5, raster_from=0.75), steps=100)
    assert [objective.random_orders(step) for step in (0, 50, 60, 75, 99)] == [1.0, 1.0, 0.6, 0.0, 0.0]


def test_what_cannot_be_trained_is_named(cache: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 2"):
        train(config(cache, tmp_path / "a", model={"name": "gpt_nano", "num_classes": 5}))
    with pytest.raises(ValueError, match="is for untrained generators; titok_nano is none"):
        train(config(cache, tmp_path / "b", model="titok_nano"))
    with pytest.raises(FileNotFoundError, match="tokzoo tokenize"):
        train(config(cache, tmp_path / "c", data=str(tmp_path)))
