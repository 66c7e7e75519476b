"""The grid tokenizers: sizes, scales, bit orders, drawn parts; their numbers are proved by the golden cases."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import some_images, tiny
from tokzoo import images
from tokzoo.conversion import use_average
from tokzoo.tokens import Grid, Pyramid

ANY_SIZE = ("bae", "ibq", "llamagen_vq", "open_magvit2", "vqgan", "wetok")
PYRAMIDS = ("var_vqvae", "xqgan")
CUTS = {
    **dict.fromkeys(("bae", "llamagen_vq", "robustok", "xqgan"), "adm"),
    **dict.fromkeys(("ibq", "vqgan"), "opencv"),
    **dict.fromkeys(("open_magvit2", "wetok"), "bilinear"),
    "var_vqvae": "lanczos_zoom",
}


@torch.no_grad()
@pytest.mark.parametrize("family", ANY_SIZE)
def test_any_multiple_of_the_downsampling_goes_in_and_comes_out(family: str) -> None:
    tok = tiny(family)
    step = tok.multiple_of
    images = torch.rand(1, 3, 3 * step, 10 * step, generator=torch.Generator().manual_seed(0))
    tokens = tok.encode(images)
    assert tokens.layout == Grid(3, 10)
    assert tokens.extent == (3 * step, 10 * step)
    assert tok.decode(tokens).shape == images.shape


@torch.no_grad()
@pytest.mark.parametrize("family", PYRAMIDS)
def test_leading_scales_decode_and_no_other_number_of_tokens(family: str) -> None:
    tok = tiny(family)
    tokens = tok.encode(some_images(tok))
    scales = tokens.layout.scales
    for count in range(1, len(scales) + 1):
        leading = tokens[:, : Pyramid(scales[:count]).num_tokens]
        assert leading.layout == Pyramid(scales[:count])
        assert tok.decode(leading).shape == (2, 3, tok.image_size, tok.image_size)
    with pytest.raises(ValueError, match="whole scales"):
        tok.decode(tokens[:, : tokens.num_tokens - 1])


@torch.no_grad()
def test_more_scales_come_nearer_to_the_latents() -> None:
    tok = tiny("var_vqvae", codebook_size=512, smoothing_ratio=0.0)
    images = some_images(tok)
    latents = tok.features(images)
    rows = torch.randn(512, 8, generator=torch.Generator().manual_seed(0)) * latents.std()
    tok.quantizer.inner[0].replace_rows(torch.arange(512), rows)
    errors = [
        (latents - codes).square().mean().item() for codes in tok.quantizer.decode_steps(tok.encode(images).indices)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.6 * latents.var()


@torch.no_grad()
def test_bit_k_of_an_open_magvit2_index_is_channel_k() -> None:
    tok = tiny("open_magvit2")
    images = some_images(tok)
    latents, indices = tok.features(images), tok.encode(images).indices
    assert torch.equal((indices.unsqueeze(-1) >> torch.arange(6)) & 1, (latents > 0).long())
    parted = tiny("open_magvit2", slot_bits=(2, 4)).encode(images).indices
    assert torch.equal(parted[..., 0] + 4 * parted[..., 1], indices)


@torch.no_grad()
def test_the_first_channel_is_the_highest_bit_of_a_bae_index_and_bits_can_be_drawn() -> None:
    tok = tiny("bae")
    images = some_images(tok)
    latents, indices = tok.features(images), tok.encode(images).indices
    assert torch.equal((indices.unsqueeze(-1) >> torch.arange(5, -1, -1)) & 1, (latents > 0).long())
    drawn = [tok.encode(images, sample=True, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0].indices, drawn[1].indices)
    assert not torch.equal(drawn[0].indices, drawn[2].indices)


@torch.no_grad()
def test_each_group_of_wetok_is_an_index_low_bit_first() -> None:
    tok = tiny("wetok")
    images = some_images(tok)
    bits = (tok.features(images) > 0).long().unflatten(-1, (2, 3))
    assert torch.equal(tok.encode(images).indices, (bits * torch.tensor([1, 2, 4])).sum(-1))


@torch.no_grad()
def test_a_generative_decoder_paints_by_its_noise() -> None:
    tok = tiny("wetok", generative=True)
    tokens = tok.encode(some_images(tok))
    first, again, other = (
        tok.decode(tokens, generator=torch.Generator().manual_seed(seed), clamp=False) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    noise = torch.empty_like(tok.codes(tokens)).normal_(generator=torch.Generator().manual_seed(0))
    assert torch.equal(tok.decode(tokens, noise=noise, clamp=False), first)
    with pytest.raises(ValueError, match=r"noise must be \(2, 64, 6\)"):
        tok.decode(tokens, noise=noise[:1])


@torch.no_grad()
def test_gumbel_vqgan_takes_the_likeliest_code_or_draws() -> None:
    tok = tiny("vqgan", gumbel=True)
    images = some_images(tok)
    logits, tokens = tok.features(images), tok.encode(images)
    assert logits.shape[-1] == 16
    assert torch.equal(tokens.indices, logits.argmax(-1))
    drawn = tok.encode(images, sample=True, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(drawn.indices, tokens.indices)
    assert tok.decode(tokens).shape == images.shape


def test_robustok_disturbs_tokens_in_training_only() -> None:
    tok = tiny("robustok", perturbed_images=0.5)
    images = some_images(tok, 4)
    with torch.no_grad():
        calm = tok(images)
        tok.train()
        wild = tok(images, generator=torch.Generator().manual_seed(0))
    assert torch.equal(calm.tokens.indices, wild.tokens.indices)
    assert torch.allclose(calm.codes[2:], wild.codes[2:])
    moved = (calm.codes[:2] - wild.codes[:2]).abs().amax(-1) > 1e-6
    assert 0.5 < moved.float().mean() < 1  # one in four keeps its own
    with pytest.raises(ValueError, match="one branch"):
        tiny("robustok", num_branches=2)


def test_the_size_of_a_pyramid_must_be_that_of_the_latents() -> None:
    with pytest.raises(ValueError, match="the last of the scales must be 4; got"):
        tiny("var_vqvae", scales=(1, 2, 3))
    assert tiny("var_vqvae", image_size=24, scales=(1, 3, 6)).token_spec.layout.num_tokens == 46


def test_the_moving_average_takes_the_place_of_the_plain_weights() -> None:
    one, two = torch.ones(1), torch.full((1,), 2.0)
    state = {
        "encoder.conv.weight": one,
        "loss.disc.weight": one,
        "model_ema.encoderconvweight": two,
        "model_ema.decay": one,
        "model_ema.num_updates": one,
    }
    assert use_average(state) == {"encoder.conv.weight": two, "loss.disc.weight": one}


@pytest.mark.parametrize(("family", "protocol"), CUTS.items())
def test_photos_are_cut_as_the_published_evaluation_cuts_them(family: str, protocol: str) -> None:
    tok = tiny(family)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    expected = images.to_tensor(images.PROTOCOLS[protocol](photo, tok.image_size))
    assert torch.equal(tok.preprocess(photo)[0], expected)
