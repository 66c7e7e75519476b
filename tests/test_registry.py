"""Names are found, sorted and explained."""

import subprocess
import sys

import pytest

import tokzoo
from tokzoo import registry


def test_names_are_in_natural_order() -> None:
    names = tokzoo.list_models("titok_bl*vq8k")
    assert names == ["titok_bl64_vq8k", "titok_bl128_vq8k"]


def test_filters_narrow_the_list() -> None:
    assert tokzoo.list_models("titok*", token_type="continuous") == [
        "titok_bl64_vae_c16",
        "titok_bl128_vae_c16",
        "titok_ll32_vae_c16",
    ]
    assert "titok_nano.photos64" in tokzoo.list_models("*.photos64", pretrained=True)
    assert tokzoo.list_models(licence="GPL-3.0") == []
    generators = tokzoo.list_models(kind="generator")
    assert "gpt_b" in generators and "titok_nano" not in generators


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(KeyError, match="did you mean titok_l32"):
        tokzoo.create_model("titok_l23")
    with pytest.raises(KeyError, match=r"there are: titok_l32\.in1k"):
        tokzoo.from_pretrained("titok_l32.in22k")


def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TypeError, match=r"no field num_latents; it has .*num_tokens"):
        tokzoo.create_model("titok_nano", num_latents=3)


def test_overrides_reach_nested_sizes() -> None:
    tok = tokzoo.create_model("titok_nano", num_tokens=8, encoder={"depth": 1})
    assert (tok.config.num_tokens, tok.config.encoder.depth, tok.config.encoder.width) == (8, 1, 128)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        registry.register_architecture(registry.architectures()["titok_nano"])


def test_every_model_is_called_as_its_authors_call_it() -> None:
    spelled = {name: architecture.published_as for name, architecture in registry.architectures().items()}
    assert all(spelled.values())
    assert (spelled["flextok_nano"], spelled["titok_l32"], spelled["taef2"]) == ("FlexTok", "TiTok", "TAEF2")
    assert (spelled["gpt_nano"], spelled["maskgit_nano"]) == ("LlamaGen", "MaskGIT")  # of one module


def test_listing_imports_no_torch() -> None:
    code = "import sys; from tokzoo.cli.main import main; main(['list']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "titok_l32" in done.stdout
