"""Autoencoders of diffusers as tokenizers: the wrapper gives what the class gives."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import tokzoo
from tokzoo._torchvision import import_with_torchvision
from tokzoo.layers.tiles import by_tiles
from tokzoo.registry import architectures, load_object
from tokzoo.tokenizers.diffusers_ae import config as sizes
from tokzoo.tokenizers.diffusers_ae.model import DiffusersAe

PARAMETERS = {"sd_vae_ft_mse": 83_653_863, "sdxl_vae": 83_653_863, "sd3_vae": 83_819_683, "flux_vae": 83_819_683}


@pytest.mark.parametrize(
    "config", [sizes.TINY, sizes.TINY_KL, sizes.TINY_DC, sizes.TINY_CONSISTENCY], ids=lambda config: config.kind
)
@torch.no_grad()
def test_a_folder_of_diffusers_loads_and_gives_what_diffusers_gives(config, tmp_path: Path) -> None:
    diffusers = import_with_torchvision("diffusers")
    torch.manual_seed(0)
    theirs = getattr(diffusers, config.kind)(**config.fields).eval()
    if config.kind == "AutoencoderKL":  # a mid attention and a shift, which the family of FlexTok's has not
        assert config.shift == 0.1
    theirs.save_pretrained(tmp_path)
    tok = tokzoo.from_pretrained(tmp_path)
    assert isinstance(tok, DiffusersAe)
    images = torch.rand(2, 3, 16, 24)
    tokens = tok.encode(images)
    encoded = theirs.encode(images * 2 - 1)
    if config.kind == "VQModel":
        quantized, _, (_, _, indices) = theirs.quantize(encoded.latents)
        assert torch.equal(tokens.indices.flatten(), indices.flatten())
        want = theirs.decode(encoded.latents).sample
    elif config.kind == "ConsistencyDecoderVAE":
        quantized = encoded.latent_dist.mean
        want = theirs.decode(quantized, generator=torch.Generator().manual_seed(1)).sample
    else:
        quantized = encoded.latent_dist.mean if config.kind == "AutoencoderKL" else encoded.latent
        want = theirs.decode(quantized).sample
    torch.testing.assert_close(tok.codes(tokens), quantized.flatten(2).transpose(1, 2))
    made = tok.decode(tokens, clamp=False, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(made * 2 - 1, want, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_consistency_decoder_gives_the_same_picture_twice_and_is_not_cut_into_tiles() -> None:
    tok = DiffusersAe(sizes.TINY_CONSISTENCY).eval()
    tokens = tok.encode(torch.rand(1, 3, 16, 16))
    assert torch.equal(tok.decode(tokens), tok.decode(tokens))
    with pytest.raises(ValueError, match="tile must be None"):
        DiffusersAe(replace(sizes.TINY_CONSISTENCY, tile=16))


def test_sampling_draws_from_the_posterior_by_the_generator() -> None:
    tok = DiffusersAe(sizes.TINY_KL).eval()
    images = torch.rand(1, 3, 16, 16)
    draws = [tok.encode(images, sample=True, generator=torch.Generator().manual_seed(3)).latents for _ in range(2)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], tok.encode(images).latents)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_registered_sizes_have_the_published_number_of_parameters(name: str, count: int) -> None:
    architecture = architectures()[name]
    with torch.device("meta"):
        tok = load_object(architecture.model)(architecture.config)
    assert sum(value.numel() for value in tok.parameters()) == count


def test_tiles_of_a_local_map_are_the_whole() -> None:
    whole = torch.rand(1, 2, 40, 28)
    shrunk = by_tiles(
        lambda part: torch.nn.functional.avg_pool2d(part, 4), whole, tile=16, overlap=4, factor=Fraction(1, 4)
    )
    torch.testing.assert_close(shrunk, torch.nn.functional.avg_pool2d(whole, 4))
    grown = by_tiles(
        lambda part: part.repeat_interleave(2, 2).repeat_interleave(2, 3), whole, tile=12, overlap=5, factor=Fraction(2)
    )
    torch.testing.assert_close(grown, whole.repeat_interleave(2, 2).repeat_interleave(2, 3))


@torch.no_grad()
def test_tiling_takes_large_images_and_leaves_small_ones_alone() -> None:
    tok, tiled = (
        DiffusersAe(
            sizes.DiffusersAeConfig(kind="AutoencoderKL", image_size=16, fields=sizes.TINY_KL.fields, tile=tile)
        ).eval()
        for tile in (None, 16)
    )
    tiled.load_state_dict(tok.state_dict())
    small, large = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 40, 24)
    assert torch.equal(tiled.encode(small).latents, tok.encode(small).latents)
    tokens = tiled.encode(large)
    assert tokens.layout == tok.encode(large).layout
    assert tiled.decode(tokens).shape == large.shape
    with pytest.raises(ValueError, match="multiple of 2 pixels"):
        DiffusersAe(sizes.DiffusersAeConfig(kind="AutoencoderKL", image_size=16, fields=sizes.TINY_KL.fields, tile=15))


def test_an_unknown_class_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="AutoencoderDC"):
        DiffusersAe(sizes.DiffusersAeConfig(kind="Other", image_size=16, fields=sizes.TINY_KL.fields))
