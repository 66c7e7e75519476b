"""The tiny autoencoders on real weights, where they are."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tokzoo
from tokzoo._torchvision import import_with_torchvision
from tokzoo.golden import read_case
from tokzoo.tokenizers.taesd.config import TINY
from tokzoo.tokenizers.taesd.golden import numbers
from tokzoo.tokenizers.taesd.model import Taesd
from tokzoo.tokenizers.taesd.weights import convert, read_config

SHARED = Path(os.environ.get("TOKZOO_SHARED", "no such folder"))
TAEF2 = SHARED / "weights" / "taef2"
needs_taef2 = pytest.mark.skipif(not TAEF2.is_dir(), reason="needs the weights of taef2 below TOKZOO_SHARED")
PSNR = {1: 25.78, 3: 32.42, 5: 26.38, 7: 30.39, 9: 33.80, 11: 26.09}  # recorded beside the weights


@needs_taef2
@torch.no_grad()
def test_taef2_gives_the_recorded_numbers_of_the_real_weights() -> None:
    case = read_case(SHARED / "golden" / "cases" / "taef2_real.json")
    ours = numbers(tokzoo.from_pretrained("taef2.flux2", file=TAEF2), case.image())
    assert [case.misfit(name, ours[name]) for name in case.recorded] == [None] * len(case.recorded)


@pytest.mark.slow
@needs_taef2
@torch.no_grad()
def test_taef2_paints_six_photos_as_well_as_recorded() -> None:
    tok = tokzoo.from_pretrained("taef2.flux2", file=TAEF2)
    for number, recorded in PSNR.items():
        photo = np.asarray(Image.open(SHARED / "data" / "kodak24" / f"kodim{number:02}.png").convert("RGB"))
        top, left = (side // 2 - 128 for side in photo.shape[:2])
        square = photo[top : top + 256, left : left + 256]
        image = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float() / 255
        error = (tok.decode(tok.encode(image)) - image).square().mean()
        assert -10 * error.log10().item() == pytest.approx(recorded, abs=0.05)


@needs_taef2
def test_an_encoder_without_its_decoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taef2_encoder.pth").symlink_to(TAEF2 / "taef2_encoder.pth")
    with pytest.raises(FileNotFoundError, match=r"must lie beside it: .*taef2_decoder\.pth"):
        tokzoo.from_pretrained("taef2.flux2", file=tmp_path)


def test_the_file_and_config_of_diffusers_are_read_and_give_what_diffusers_gives(tmp_path: Path) -> None:
    AutoencoderTiny = import_with_torchvision("diffusers").AutoencoderTiny  # noqa: N806

    torch.manual_seed(0)
    widths = (8,) * 3
    theirs = AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, 1, 2),
        num_decoder_blocks=(2, 1, 1),
    )
    theirs.save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    assert read_config(described).num_blocks == (1, 1, 2)
    ours = tokzoo.from_pretrained(tmp_path)
    assert isinstance(ours, Taesd)
    images = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        latents = theirs.encode(images * 2 - 1).latents
        torch.testing.assert_close(ours.encode(images).latents, latents.flatten(2).transpose(1, 2))
        raw = (theirs.decode(latents).sample + 1) / 2
        torch.testing.assert_close(ours.decode(ours.encode(images)), raw.clamp(0, 1))


def test_keys_of_another_network_are_refused() -> None:
    with pytest.raises(KeyError, match="no rule reads"):
        convert({"vgg.0.weight": torch.zeros(1)}, TINY)
