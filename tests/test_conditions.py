"""What tokenizers need besides pixels: prepared of them, computed by helpers, passed on by training."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import tokzoo
from tests.helpers import some_conditions, some_images, tiny
from tokzoo import conditions, registry
from tokzoo._torchvision import import_with_torchvision
from tokzoo.conditions import Condition, ConditionHelper
from tokzoo.encoders.latent_query import LatentQueryEncoder
from tokzoo.reconstruction import reconstruct
from tokzoo.registry import Architecture
from tokzoo.tokenizers.tatitok.config import TINY
from tokzoo.tokenizers.tatitok.model import Tatitok
from tokzoo.tokenizers.tatitok.weights import read_config
from tokzoo.tokenizers.titok.config import TINY as TITOK_TINY
from tokzoo.tokenizers.titok.config import TitokConfig
from tokzoo.tokenizers.titok.model import Titok
from tokzoo.tokens import Features
from tokzoo.training.config import LossConfig, TrainConfig
from tokzoo.training.loop import train

SEEN: list[tuple[str, ...]] = []


class LetterCounts(ConditionHelper):
    """How often each of twelve letters is in each of the first five words."""

    def condition(self, images: Tensor, captions: Sequence[str] | None = None) -> Tensor:
        SEEN.append(tuple(captions or ()))
        features = torch.zeros(len(images), 5, 12)
        for row, caption in enumerate(captions or ()):
            for place, word in enumerate(caption.split()[:5]):
                for letter in word.lower():
                    features[row, place, ord(letter) % 12] += 1
        return features


class Guided(Tatitok):
    """A TA-TiTok that reads letters."""

    @property
    def conditions(self) -> dict[str, Condition]:
        return {"text": Condition(shape=(5, 12), what="letters", helper="tests.test_conditions:LetterCounts")}


class BrightPatchesEncoder(LatentQueryEncoder):
    """Adds to every token how bright the image's brightest patches are."""

    def forward(self, images: Tensor, *, brightest: Tensor) -> Features:
        features = super().forward(images)
        return features._replace(latents=features.latents + brightest.mean(1)[:, None, None])


class Prepared(Titok):
    """A tokenizer that chooses patches by their brightness before it encodes: as many as exceed one half."""

    prepared = 0

    def __init__(self, config: TitokConfig):
        super().__init__(config)
        self.encoder.__class__ = BrightPatchesEncoder

    @property
    def conditions(self) -> dict[str, Condition]:
        what = "brightness of the chosen patches"
        return {"brightest": Condition(shape=(None,), what=what, parts=("encode",), prepared=True)}

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        self.prepared += 1
        means = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4).flatten(1)
        kept = int((means > 0.5).sum(1).max())  # of another length for other images: no graph holds this
        return {"brightest": means.topk(max(1, kept)).values}


@torch.no_grad()
def test_text_guides_the_decoder_and_leaves_the_tokens_alone() -> None:
    tok = tiny("tatitok")
    images = some_images(tok)
    given = some_conditions(tok, images)
    assert torch.equal(tok.encode(images).indices, tok.encode(images, **given).indices)
    one, other = tok.decode(tok.encode(images), **given), tok.decode(tok.encode(images), text=-given["text"])
    assert not torch.allclose(one, other, atol=1e-4)


def test_an_error_says_what_is_missing_in_which_shape_and_who_makes_it() -> None:
    tok = tiny("tatitok")
    images = some_images(tok)
    with pytest.raises(ValueError, match=r"decode needs text=, \(2, 5, 12\): CLIP features .*ClipText\(\)\(captions\)"):
        tok.decode(tok.encode(images))
    with pytest.raises(ValueError, match=r"decode needs text="):
        tok(images)
    with pytest.raises(TypeError, match=r"takes no txt: its conditions are text"):
        tok.decode(tok.encode(images), txt=torch.zeros(2, 5, 12))
    with pytest.raises(TypeError, match=r"takes no text: it needs nothing but pixels"):
        tiny("titok").encode(images, text=torch.zeros(2, 5, 12))


@torch.no_grad()
def test_what_is_prepared_of_pixels_is_made_where_it_is_not_given_and_compiles_where_it_is() -> None:
    torch.manual_seed(0)
    tok = Prepared(TITOK_TINY).eval()
    images = some_images(tok)
    by_itself = tok.encode(images)
    assert tok.prepared == 1
    given = tok.prepare(images)
    assert torch.equal(tok.encode(images, **given).indices, by_itself.indices) and tok.prepared == 2
    assert not torch.equal(tok.features(images, brightest=given["brightest"] + 9), tok.features(images))
    compiled = torch.compile(tok.encode, backend="eager", fullgraph=True)(images, **given)
    assert torch.equal(compiled.indices, by_itself.indices)


def test_conditions_of_another_width_are_refused_and_any_length_is_taken_where_it_may_be_any() -> None:
    known = {"points": Condition(shape=(None, 3), what="points")}
    given = {"points": torch.zeros(2, 7, 3)}
    picked = conditions.pick(known, given, "decode", count=2, dtype=torch.bfloat16)
    assert picked["points"].shape == (2, 7, 3) and picked["points"].dtype == torch.bfloat16
    with pytest.raises(ValueError, match=r"points must be \(2, any, 3\), points; got \(2, 7, 4\)"):
        conditions.pick(known, {"points": torch.zeros(2, 7, 4)}, "decode", count=2, dtype=torch.float32)
    assert conditions.pick(known, {}, "encode", count=2, dtype=torch.float32) == {}


def test_the_continuous_config_is_told_from_titoks_by_its_file_names() -> None:
    model = dict(quantize_mode="vae", token_size=16, num_latent_tokens=32, finetune_decoder=False, is_legacy=False)
    model |= dict(vit_enc_model_size="base", vit_dec_model_size="large", vit_enc_patch_size=16, vit_dec_patch_size=16)
    published = {"model": {"vq_model": model}, "experiment": {"tokenizer_checkpoint": "tatitok_bl32_vae.bin"}}
    assert read_config(published).text_length == 77
    assert read_config({"model": {"vq_model": model}}) is None


# --- CLIP ------------------------------------------------------------------------------------------------------------


def small_clip() -> nn.Module:
    """open_clip's model at a small size, untrained."""
    pytest.importorskip("ftfy")  # of the extra; open_clip itself may need the door to torchvision
    open_clip = import_with_torchvision("open_clip")

    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32)
    text = open_clip.CLIPTextCfg(width=32, heads=2, layers=2)
    return open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text, quick_gelu=True).eval()


@torch.no_grad()
def test_clip_features_pooled_and_projected_are_open_clips_own_text_embedding() -> None:
    tower = small_clip()
    text = conditions.ClipText(tower)
    captions = ["A photo of a jay.", "", "two dogs on a beach"]
    features = text(captions)
    assert features.shape == (3, 77, 32)
    ids = text.tokenize(captions)
    pooled = features[torch.arange(3), ids.argmax(1)] @ tower.text_projection
    torch.testing.assert_close(pooled, tower.encode_text(ids), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_images_without_captions_get_an_empty_text_and_a_lone_text_is_refused() -> None:
    text = conditions.ClipText(small_clip())
    images = torch.zeros(3, 3, 8, 8)
    assert torch.equal(text.condition(images), text([""]).expand(3, -1, -1))
    both = text.condition(images, ["a", "b", "a"])
    assert torch.equal(both[0], both[2]) and not torch.equal(both[0], both[1])
    with pytest.raises(ValueError, match="3 images need as many captions; got 1"):
        text.condition(images, ["a"])
    with pytest.raises(TypeError, match="a list of texts"):
        text("a photo")


def test_without_open_clip_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(ImportError, match=r"tokzoo\[text\]"):
        conditions.ClipText()


# --- what passes them on ----------------------------------------------------------------------------------------------


@pytest.fixture
def guided() -> Iterator[str]:
    name = "guided_tiny"
    tokzoo.register_architecture(
        Architecture(
            name=name,
            family=name,
            model="tests.test_conditions:Guided",
            config=TINY,
            token_type="discrete",
            paper="2501.07730",
        )
    )
    yield name
    del registry._registered[name]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for label in ("dog", "rose"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


def config(photos: Path, out: Path, model: str, **changes: object) -> TrainConfig:
    loss = LossConfig(perceptual=0.0)
    few = dict(steps=3, batch_size=4, loss=loss, device="cpu", precision="float32", eval_every=3, save_every=3)
    return TrainConfig(data=str(photos), out=str(out), model=model, **few, **changes)  # type: ignore[arg-type]


def test_reconstructing_photos_gives_an_empty_text(photos: Path) -> None:
    SEEN.clear()
    result = reconstruct(Guided(TINY).eval(), sorted(photos.rglob("*.png"))[:3])
    assert len(result.photos) == 3 and SEEN == [()]


def test_training_gives_every_photo_its_caption(guided: str, photos: Path, tmp_path: Path) -> None:
    SEEN.clear()
    tok = tokzoo.from_pretrained(train(config(photos, tmp_path / "run", guided, caption="A photo of a {}.")))
    assert len(SEEN) == 4 and all(len(captions) == 4 for captions in SEEN[:3])  # three steps, one evaluation
    assert {caption for captions in SEEN for caption in captions} == {"A photo of a dog.", "A photo of a rose."}
    assert not [key for key in tok.state_dict() if "helper" in key]
    SEEN.clear()
    train(config(photos, tmp_path / "plain", guided))
    assert SEEN == [()] * 4


def test_captions_need_labels(guided: str, photos: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        path.rename(photos / f"{number}.png")
    with pytest.raises(ValueError, match="captions are made of labels, and these photos have none"):
        train(config(photos, tmp_path / "run", guided, caption="A {}."))
