"""The hub's faults are as docs/hub_faults.md says; halves read half; pushed models say what they are."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tokzoo
from tests.helpers import families, some_conditions, some_images, tiny

pytest.register_assert_rewrite("tests.hub_faults")
from tests import hub_faults  # noqa: E402
from tokzoo.about import describe, model_card  # noqa: E402

SMAPS = Path("/proc/self/smaps")


def test_every_fault_is_as_the_page_says(tmp_path: Path) -> None:
    outcomes = hub_faults.table(tmp_path)
    broken = [f"{outcome.row.name}: {outcome.broken}" for outcome in outcomes if outcome.broken is not None]
    assert not broken, "\n\n".join(broken)
    assert hub_faults.page(outcomes) == hub_faults.PAGE.read_text(), "run `python -m tests.hub_faults`"


def mapped_bytes(file: Path) -> int:
    """How much of a mapped file is in this process's memory."""
    blocks = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text())
    return sum(
        int(re.search(r"^Rss: +(\d+) kB", block, re.MULTILINE)[1]) * 1024 for block in blocks if str(file) in block
    )


def size_of(model: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_of_a_half_no_more_is_read_from_the_file(part: str, name: str, tmp_path: Path) -> None:
    size = {"width": 256, "depth": 4}
    tok = tiny("titok", encoder=size, decoder=size)
    tok.save_pretrained(tmp_path)
    if name.endswith(".bin"):
        torch.save(tok.state_dict(), tmp_path / name)
        (tmp_path / "model.safetensors").unlink()
    half = tokzoo.from_pretrained(tmp_path, part=part)
    assert mapped_bytes(tmp_path / name) < size_of(half) / 4  # nothing is read before it is used
    assert sum(float(value.detach().sum()) for value in half.parameters()) != 0
    assert size_of(half) * 0.9 < mapped_bytes(tmp_path / name) < size_of(half) * 1.2
    assert size_of(half) < size_of(tok) * 0.6


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("family", sorted(families()))
def test_a_half_does_what_it_can_and_says_what_is_missing(family: str, part: str, tmp_path: Path) -> None:
    tok, half = tiny(family), tiny(family)
    images = some_images(tok)
    given = some_conditions(tok, images)
    tokens = tok.encode(images, **given)
    try:
        half.keep_part(part)
    except ValueError as error:  # systems of which a half is of no use
        assert "load it whole" in str(error)
        return
    assert half.token_spec == tok.token_spec
    assert half.image_size == tok.image_size
    assert torch.equal(half.codes(tokens), tok.codes(tokens))
    with pytest.raises(RuntimeError, match="load it whole"):
        half(images, **given)
    with pytest.raises(ValueError, match="only a whole one can be saved"):
        half.save_pretrained(tmp_path / "half")
    with pytest.raises(ValueError, match="only a whole one can be saved"):
        half.push_to_hub("me/half")
    if part == "decoder":
        with pytest.raises(RuntimeError, match="part='decoder' and has no encoder; load it whole"):
            half.encode(images, **given)
        return
    for_encoding = {name: given[name] for name, need in tok.conditions.items() if "encode" in need.parts}
    assert torch.equal(half.features(images, **for_encoding), tok.features(images, **for_encoding))
    with pytest.raises(RuntimeError, match="part='encoder' and has no decoder; load it whole"):
        half.decode(tokens, **given)


def test_an_unknown_part_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"part must be one of encoder, decoder, .* got 'quantizer'"):
        tokzoo.from_pretrained("titok_nano.photos64", part="quantizer")


@pytest.mark.parametrize(
    ("name", "licence", "fields"),
    [
        (None, None, "library_name: tokzoo\ntags:"),
        ("titok_l32.in1k", None, "license: apache-2.0\n"),
        (None, "CC-BY-NC-4.0", "license: cc-by-nc-4.0\n"),
        (None, "Research only", "license: other\nlicense_name: Research only\n"),
    ],
)
def test_a_card_names_the_licence_as_the_hub_does(name: str | None, licence: str | None, fields: str) -> None:
    tok = tiny("titok")
    tok.name = name
    card = model_card(tok, "me/mine", licence=licence)
    assert fields in card.split("---")[1]
    assert 'tokzoo.from_pretrained("me/mine")' in card
    assert ("licence: not stated" in card) == (name is None and licence is None)
    assert ("Made from the weights `titok_l32.in1k`" in card) == (name is not None)


def test_a_foreign_config_with_our_familys_field_names_is_refused(tmp_path: Path) -> None:
    for described in ({"model": "llama"}, {"model": {"vq_model": 3}}, ["model"], {"format": "tokzoo"}):
        (tmp_path / "config.json").write_text(json.dumps(described))
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match=r"config\.json"):
            tokzoo.from_pretrained(tmp_path)


def test_info_tells_what_a_user_asks_before_loading() -> None:
    text = describe("titok_l32.in1k")
    for fact in (
        "32, each 1 of 4096: 384 bits",
        "256x256 pixels",
        "641 M (encoder 303 M, decoder 338 M, 2.56 GB in float32)",
        "yucornetto/tokenizer_titok_l32_imagenet: model.safetensors",
        "licence     Apache-2.0",
        "rFID 2.21 (ImageNet val 50k",
        "tokzoo download titok_l32.in1k",
        "was never loaded",
    ):
        assert fact in text, fact
    assert "works offline" in describe("titok_nano.photos64")


def test_downloading_imports_no_torch() -> None:
    code = (
        "import sys; from tokzoo.cli.main import main; "
        "main(['download', 'titok_nano.photos64']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"titok_nano\.photos64: .*model\.safetensors \([\d,]+ bytes\)", done.stdout)
