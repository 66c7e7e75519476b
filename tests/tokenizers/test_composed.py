"""Any encoder, quantizer and decoder: those that fit are built, trained, saved and loaded; the others are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import tokzoo
from tests.quantizers.shelf import ALL
from tokzoo import registry
from tokzoo.tokens import Grid, Pyramid, Sequence
from tokzoo.training import TrainConfig, train
from tokzoo.training.config import LossConfig

SIZE = 16
CNN = dict(name="cnn", width=32, multipliers=(1, 1, 1))
MASKGIT = dict(name="maskgit_cnn", width=32, multipliers=(1, 1, 1))
VIT = dict(name="vit", patch_size=4, width=32, depth=1, num_heads=2)
QUERY = dict(VIT, name="latent_query", num_tokens=16)
MASKS = dict(VIT, name="mask_token")
FSQ = dict(name="fsq", levels=(8, 5, 5))
PYRAMID = ALL["multi_scale"]


def compose(encoder: dict, quantizer: dict, decoder: dict) -> tokzoo.VisualTokenizer:
    torch.manual_seed(0)
    return tokzoo.create_model("grid", image_size=SIZE, encoder=encoder, quantizer=quantizer, decoder=decoder)


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ALL)
def test_every_quantizer_has_gradients_on_both_sides_and_comes_back_from_a_folder(name: str, tmp_path: Path) -> None:
    tok = compose(VIT, ALL[name], MASKS)
    output = tok.train()(images(), sample=tok.quantizer.draws)
    (output.reconstruction.square().mean() + sum(output.losses.values())).backward()
    without = [key for key, value in tok.named_parameters() if value.grad is None]
    assert not [key for key in without if "inner" not in key and "smoothing" not in key]
    again = tokzoo.from_pretrained(tok.eval().save_pretrained(tmp_path))
    assert again.config == tok.config
    tokens = again.encode(images())
    assert torch.equal(again.decode(tokens), tok.decode(tok.encode(images())))
    assert tokens.layout == tok.token_spec.layout
    if tokens.indices is not None:
        assert tokens.bits()[0] >= tokens.num_tokens * tok.token_spec.bits_per_token - 1e-6


@pytest.mark.parametrize(
    ("encoder", "quantizer", "decoder", "layout"),
    [
        (CNN, FSQ, CNN, Grid(4, 4)),
        (CNN, FSQ, VIT, Grid(4, 4)),
        (VIT, FSQ, MASKGIT, Grid(4, 4)),
        (MASKGIT, FSQ, MASKS, Grid(4, 4)),
        (QUERY, FSQ, MASKS, Sequence(16)),
        (QUERY, PYRAMID, CNN, Pyramid(((1, 1), (2, 2), (4, 4)))),  # as ImageFolder has it
        (CNN, PYRAMID, MASKS, Pyramid(((1, 1), (2, 2), (4, 4)))),
    ],
)
@torch.no_grad()
def test_parts_that_fit_make_a_tokenizer(encoder: dict, quantizer: dict, decoder: dict, layout: object) -> None:
    tok = compose(encoder, quantizer, decoder).eval()
    tokens = tok.encode(images())
    assert tokens.layout == layout == tok.token_spec.layout
    assert tok.decode(tokens).shape == (2, 3, SIZE, SIZE)
    if isinstance(layout, Pyramid):
        assert tok.decode(tokens[:, :5]).shape == (2, 3, SIZE, SIZE)  # two scales of three


@pytest.mark.parametrize(
    ("encoder", "quantizer", "decoder", "message"),
    [
        (QUERY, FSQ, CNN, r"decoder 'cnn' reads .*Grid\(height=4.*encoder 'latent_query' .*'fsq' gives Sequence"),
        (CNN, FSQ, dict(VIT, patch_size=8), r"decoder 'vit' reads .*height=2.*encoder 'cnn' .* gives Grid\(height=4"),
        (dict(CNN, code_dim=5), FSQ, CNN, r"encoder 'cnn' gives vectors of 5 channels; quantizer 'fsq' takes 3"),
        (CNN, dict(name="kl", code_dim=4), dict(CNN, code_dim=8), r"decoder 'cnn' reads .* 8 channels; .*'kl' gives 4"),
        (CNN, dict(PYRAMID, scales=(1, 3)), CNN, r"encoder 'cnn' gives tokens on Grid.*'multi_scale' refuses.*3x3"),
        (
            dict(VIT, patch_size=5),
            FSQ,
            VIT,
            r"do not fill 16 x 16; the nearest size that fits is 15",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_both_sides_named(
    encoder: dict, quantizer: dict, decoder: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compose(encoder, quantizer, decoder)


def test_unknown_parts_and_options_are_named() -> None:
    with pytest.raises(KeyError, match="no encoder is called 'cn'; did you mean cnn"):
        compose(dict(name="cn"), FSQ, CNN)
    with pytest.raises(TypeError, match=r"decoder .cnn. with .*depth"):
        compose(CNN, FSQ, dict(CNN, depth=3))
    with pytest.raises(KeyError, match=r"tokzoo\.register_quantizer first"):
        compose(CNN, dict(name="my_own"), CNN)


def test_a_training_config_names_the_parts(tmp_path: Path) -> None:
    described = yaml.safe_load(
        f"""
        name: grid
        image_size: {SIZE}
        encoder: {{name: latent_query, num_tokens: 4, patch_size: 4, width: 32, depth: 1, num_heads: 2}}
        quantizer:
          name: perturbed
          neighbours: 4
          images: 0.5
          inner: {{name: revived, every: 2, inner: {{name: vq_ema, codebook_size: 16, code_dim: 4}}}}
        decoder: {{name: mask_token, patch_size: 4, width: 32, depth: 1, num_heads: 2}}
        """
    )
    data = tmp_path / "photos"
    data.mkdir()
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(data / f"{number}.png")
    config = TrainConfig(
        data=str(data),
        out=str(tmp_path / "run"),
        model=described,
        steps=3,
        batch_size=4,
        loss=LossConfig(perceptual=0),
        device="cpu",
    )
    assert config.model == "grid"
    tok = tokzoo.from_pretrained(train(config))
    assert tok.token_spec.levels == (16,) and tok.token_spec.layout == Sequence(4)
    assert int(tok.quantizer.inner.steps) == 3


def test_a_tokenizer_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry.architectures()))
    grid = registry.architectures()["grid"]
    model = registry.load_object(grid.model)
    tokzoo.register_tokenizer("mine", model, grid.config)
    assert "mine" in tokzoo.list_models()
    assert tokzoo.create_model("mine").name == "mine"
    with pytest.raises(ValueError, match="registered already"):
        tokzoo.register_tokenizer("mine", model, grid.config)
    with pytest.raises(ValueError, match="top of a module"):
        tokzoo.register_tokenizer("local", lambda config: model(config), grid.config)
