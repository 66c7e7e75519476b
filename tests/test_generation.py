"""A generator and its tokenizer together: labels by number or name to images, files, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import tokzoo
from tests.helpers import tiny
from tokzoo import _finding
from tokzoo._fetch import Download
from tokzoo.about import model_card
from tokzoo.cli.main import main
from tokzoo.demo.generation import class_of, generation_html, stages
from tokzoo.generation import Pipeline, pipeline, write_samples
from tokzoo.generators.gpstoken.config import TINY as GPS_TINY
from tokzoo.generators.gpstoken.model import GpsSit
from tokzoo.tokens import Sequence, Tokens

CLASSES = ("cat", "dog", "t-shirt")


def pair(name: str = "gpt_nano", family: str = "titok", **sizes: object) -> Pipeline:
    """A tiny tokenizer, and a generator that was made for it and says something."""
    tok = tiny(family)
    tok.name = f"{family}_nano"
    torch.manual_seed(0)
    sizes = {"width": 32, "depth": 1, "num_heads": 2, "table_width": 16, **sizes}
    model = tokzoo.create_model(name, tokenizer=tok, num_classes=3, **sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.classes, model.sampling = CLASSES, {"guidance": 2.0}
    return Pipeline(model, tok)


def test_names_and_numbers_are_the_same_labels_and_a_seed_decides_the_images() -> None:
    pipe = pair()
    images = pipe(["dog", "t-shirt"], num_samples=3, seed=1)
    assert images.shape == (6, 3, 16, 16) and 0 <= images.min() <= images.max() <= 1
    assert torch.equal(images, pipe([1, 2], num_samples=3, seed=1))
    assert torch.equal(images, pipe(torch.tensor([1, 2]), num_samples=3, seed=1, guidance=2.0))
    assert not torch.equal(images, pipe([1, 2], num_samples=3, seed=2))
    assert not torch.equal(images, pipe([1, 2], num_samples=3, seed=1, guidance=1.0))
    tokens = pipe.tokens([1, 2], num_samples=3, seed=1)
    assert torch.equal(images, pipe.tokenizer.decode(tokens))


def test_batches_do_not_mix_labels_nor_what_is_given() -> None:
    pipe = pair()
    given = Tokens(layout=Sequence(2), indices=torch.arange(8).view(4, 2), levels=(16,))
    tokens = pipe.tokens([0, 1], num_samples=2, given=given, seed=0, batch_size=3)
    assert torch.equal(tokens.indices[:, :2], given.indices)
    likeliest = pipe.tokens([0, 1], num_samples=2, temperature=0, batch_size=3)
    assert torch.equal(likeliest.indices[0], likeliest.indices[1])
    assert torch.equal(likeliest.indices[2:], pipe.tokens(1, num_samples=2, temperature=0).indices)


def test_a_saved_generator_names_its_tokenizer_its_classes_and_how_it_samples(tmp_path: Path) -> None:
    pipe = pair()
    pipe.tokenizer.save_pretrained(tmp_path / "tok")
    pipe.generator.tokenizer = str(tmp_path / "tok")
    pipe.generator.save_pretrained(tmp_path / "generator")
    again = tokzoo.pipeline(tmp_path / "generator")
    assert again.classes == CLASSES and again.generator.sampling == {"guidance": 2.0}
    assert torch.equal(again("cat", seed=3), pipe("cat", seed=3))


def test_maskgit_keeps_what_it_is_given_anywhere_in_the_row() -> None:
    pipe = pair("maskgit_nano", mlp_dim=64)
    valid = torch.tensor([[False, True, False, True]])
    known = Tokens(layout=Sequence(4), indices=torch.tensor([[0, 7, 0, 9]]), levels=(16,), valid=valid)
    tokens = pipe.tokens(["cat", "dog"], given=known, num_steps=3, seed=0)
    assert tokens.indices[:, [1, 3]].tolist() == [[7, 9], [7, 9]]


def test_what_does_not_fit_is_named() -> None:
    pipe = pair()
    with pytest.raises(ValueError, match="did you mean t-shirt"):
        pipe("tshirt")
    with pytest.raises(ValueError, match=r"labels must be 0 to 2; got \[3\]"):
        pipe(3)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        pipe(0, batch_size=0)
    with pytest.raises(ValueError, match="they are no pair"):
        Pipeline(pipe.generator, tokzoo.create_model("titok_nano"))
    with pytest.raises(TypeError, match="no knob of this generator is called num_steps; there are guidance"):
        pipe("cat", num_steps=3)
    gaussians = Pipeline(GpsSit(GPS_TINY), tiny("gpstoken"))
    with pytest.raises(TypeError, match="GpsSit makes all tokens anew: it takes no given="):
        gaussians(0, given=pipe.tokens("cat"))
    with pytest.raises(ValueError, match="a pipeline needs a generator"):
        pipeline("titok_nano.photos64")


def test_a_demo_section_shows_classes_how_a_sample_comes_and_completions(tmp_path: Path) -> None:
    Image.effect_noise((20, 20), 50).convert("RGB").save(tmp_path / "cat.png")
    Image.effect_noise((20, 20), 50).convert("RGB").save(tmp_path / "cow.png")
    section = generation_html(pair(), tmp_path, [tmp_path / "cat.png", tmp_path / "cow.png"])
    assert section.count("<img") == 3 and "titok_nano" in section
    assert sorted(file.name for file in (tmp_path / "gpt_nano").iterdir()) == [
        "completions.png",
        "samples.png",
        "trajectory.png",
    ]
    assert class_of(Path("rose.jpg"), ("daisy", "roses")) == "roses"
    assert class_of(Path("t_shirt.jpg"), CLASSES) == "t-shirt"


def test_the_last_stage_of_a_trajectory_is_the_sample_and_the_others_begin_as_it_does() -> None:
    pipe = pair()
    made = stages(pipe, ["cat", "dog"])
    assert list(made) == [1, 2, 4]
    assert torch.equal(made[4], pipe(["cat", "dog"], seed=0))
    first = pipe.tokens(["cat", "dog"], seed=0)[:, :2]
    assert torch.equal(made[2], pipe(["cat", "dog"], given=first, temperature=0))


@pytest.mark.parametrize("family", ["one_d_piece", "flextok"])
def test_of_ordered_tokens_every_beginning_is_decoded_alone_and_is_drawn_alone(family: str) -> None:
    pipe = pair(family=family)
    made = stages(pipe, ["cat", "dog"])
    assert list(made) == [1, 2, 4, 8]
    whole = pipe.tokens(["cat", "dog"], seed=0)
    for length, images in made.items():
        torch.testing.assert_close(
            images, pipe.tokenizer.decode(whole[:, :length], generator=torch.Generator().manual_seed(0))
        )
    short = pipe.tokens(["cat", "dog"], temperature=0, num_tokens=3)
    assert torch.equal(short.indices, pipe.tokens(["cat", "dog"], temperature=0).indices[:, :3])
    assert pipe(["cat", "dog"], num_tokens=3, seed=0).shape == made[1].shape


def test_a_generator_has_no_halves_and_its_card_says_whose_tokens_it_makes(tmp_path: Path) -> None:
    model = pair().generator
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a generator: it has no decoder"):
        tokzoo.from_pretrained(tmp_path, part="decoder")
    card = model_card(model, "me/mine", licence="MIT")
    assert "makes the tokens of: titok_nano" in card and "classes: cat, dog, t-shirt" in card
    assert 'tokzoo.pipeline("me/mine")' in card and "visual-generator" in card


LLAMAGEN = {"n_layer": 2, "n_head": 4, "block_size": 16, "dim": 64, "vocab_size": 40, "num_classes": 10}
RAR = {
    "generator": {
        "image_seq_len": 16,
        "condition_num_classes": 10,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 256,
    }
}


@pytest.mark.parametrize(("described", "family"), [(LLAMAGEN, "llamagen_gpt"), (RAR, "rar")])
def test_the_config_of_authors_tells_their_family(described: dict, family: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(described))
    found = _finding._in_folder(tmp_path, Download(), file=tmp_path / "pytorch_model.bin")
    assert found.architecture.family == family and found.config.width == 64


def test_samples_of_a_text_get_a_file_name(tmp_path: Path) -> None:
    write_samples(torch.rand(2, 3, 8, 8), ["a/b: red?", "dog"], tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a_b_red_-000.png", "dog-000.png", "samples.png"]


def test_generate_writes_a_png_for_each_sample_and_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = pair()
    pipe.tokenizer.save_pretrained(tmp_path / "tok")
    pipe.generator.tokenizer = str(tmp_path / "tok")
    pipe.generator.save_pretrained(tmp_path / "generator")
    out = tmp_path / "out"
    options = ["--labels", "cat", "2", "--num_samples", "2", "--guidance", "3", "--out", str(out)]
    assert main(["generate", str(tmp_path / "generator"), *options]) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "2-000.png",
        "2-001.png",
        "cat-000.png",
        "cat-001.png",
        "samples.png",
    ]
    assert Image.open(out / "cat-000.png").size == (16, 16)
    assert "4 images; look at" in capsys.readouterr().out
    assert main(["generate", str(tmp_path / "generator"), "--labels", "cow", "--out", str(out)]) == 1
    assert "no class is called 'cow'" in capsys.readouterr().err
