"""KARL and ALIT: how many tokens an image gets is its own affair, whatever else is in the batch."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tokzoo
from tests.helpers import some_images, tiny
from tokzoo.encoders.halting_query import ERRORS, error_bin
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.karl.model import Karl, halting_loss
from tokzoo.tokens import Tokens

ASKED = [dict(num_tokens=7), dict(max_error=0.12), dict(num_tokens=8, max_error=[0.01, 0.05, 0.1, 0.3])]


def four_images(tok: VisualTokenizer) -> torch.Tensor:
    """Of as many brightnesses and contrasts."""
    steps = torch.linspace(0, 1, 4)[:, None, None, None]
    return some_images(tok, 4) * steps + (1 - steps) * steps.flip(0)


@torch.no_grad()
def karl_that_halts(base: str = "vqgan", **changes: object) -> VisualTokenizer:
    """A tiny KARL half of whose tokens halt on `four_images`, here and there, differently from image to image."""
    tok = tiny("karl", **changes)
    tok = Karl(replace(tok.config, base=replace(tok.config.base, kind=base))).eval()
    torch.manual_seed(3)
    queries = tok.encoder.queries  # nearly alike: what they see makes the difference
    queries.copy_(torch.randn(1, queries.shape[1]) + 0.3 * torch.randn_like(queries))
    halt = tok.encoder.halting[-1]
    logits = tok.encoder(four_images(tok), num_tokens=8).aux["halt_logits"]
    halt.weight.mul_(9 / logits.std())
    halt.bias.copy_(1.1 - (logits - halt.bias).median() * 9 / logits.std())  # the threshold 0.75 is a logit of 1.1
    return tok


@torch.no_grad()
@pytest.mark.parametrize("base", ["vqgan", "vae", "none"])
@pytest.mark.parametrize("asked", ASKED, ids=["num_tokens", "max_error", "both"])
def test_a_batch_of_four_is_four_batches_of_one(base: str, asked: dict) -> None:
    tok = karl_that_halts(base)
    images = four_images(tok)
    whole = tok.encode(images, **asked)
    for number in range(4):
        own = {name: value[number] if isinstance(value, list) else value for name, value in asked.items()}
        one = tok.encode(images[number : number + 1], **own)
        assert torch.equal(one.valid, whole.valid[number : number + 1])
        assert torch.equal(one.indices, whole.indices[number : number + 1])
        torch.testing.assert_close(tok.decode(one), tok.decode(whole)[number : number + 1], atol=1e-5, rtol=1e-5)
    assert len({tuple(row) for row in whole.valid.tolist()}) > 1  # the images differ in what they keep


@torch.no_grad()
def test_kept_tokens_lie_anywhere_and_bits_count_them_alone() -> None:
    tok = karl_that_halts()
    tokens = tok.encode(four_images(tok), num_tokens=8)
    valid = tokens.valid
    assert bool((~valid[:, :-1] & valid[:, 1:]).any())  # a token that counts after one that does not
    assert tokens.bits().tolist() == [4 * int(row.sum()) for row in valid]  # 16 codes


@torch.no_grad()
@pytest.mark.parametrize("bottleneck", ["vq", "none"])
def test_decode_reads_only_what_counts(bottleneck: str) -> None:
    tok = karl_that_halts(bottleneck=bottleneck)
    tokens = tok.encode(four_images(tok), num_tokens=8)
    if bottleneck == "vq":
        other = replace(tokens, indices=torch.where(tokens.valid, tokens.indices, 15 - tokens.indices))
    else:
        other = replace(tokens, latents=tokens.latents.masked_fill(~tokens.valid.unsqueeze(-1), 7.0))
    assert torch.equal(tok.decode(other), tok.decode(tokens))
    all_count = replace(tokens, valid=torch.ones_like(tokens.valid))
    assert not torch.allclose(tok.decode(all_count), tok.decode(tokens), atol=1e-3)


def test_an_error_is_asked_for_by_the_next_one_that_has_an_embedding() -> None:
    images = torch.zeros(6, 3, 2, 2)
    bins = error_bin(torch.tensor([0.0, 0.005, 0.0051, 0.05, 0.38, 2.0]), images)
    assert [ERRORS[number] for number in bins.tolist()] == [0.005, 0.005, 0.01, 0.05, 0.38, 0.38]


def test_asking_for_what_cannot_be_is_refused_by_name() -> None:
    tok = tiny("karl")
    images = some_images(tok)
    with pytest.raises(ValueError, match="num_tokens must be 1 to 8; got 9"):
        tok.encode(images, num_tokens=9)
    with pytest.raises(ValueError, match=r"one for each of 2 images; got \(3,\)"):
        tok.encode(images, max_error=[0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match=r"at least 0; got -0\.1"):
        tok.encode(images, max_error=-0.1)
    with pytest.raises(ValueError, match="num_tokens must be a multiple of 4, 4 to 8; got 6"):
        tiny("alit").encode(images, num_tokens=6)


def test_halting_is_taught_beyond_what_is_needed() -> None:
    logits = torch.tensor([[-9.0, -9.0, 9.0, 9.0]])
    assert halting_loss(logits, 2) < 1e-3
    assert halting_loss(logits, 4) > 4
    assert halting_loss(-logits, 2) > 15


@torch.no_grad()
@pytest.mark.parametrize("base", ["vqgan", "vae"])
def test_alit_gives_each_image_of_a_batch_the_rounds_it_needs(base: str) -> None:
    tok = tiny("alit", base={"kind": base})
    images = some_images(tok, 4)
    images[1:3] = images[1:3].mean((2, 3), keepdim=True)  # two are flat
    rounds = [tok.decode(tok.encode(images, num_tokens=count), clamp=False) for count in (4, 8)]
    errors = torch.stack([(made - images).abs().flatten(1).mean(1) for made in rounds], dim=1)
    asked = (errors[:, 0] + 1e-4).tolist()
    asked[0], asked[3] = 0.0, float(errors[3, 1]) + 1e-6
    whole = tok.encode(images, max_error=asked)
    best = 1 + errors.argmin(1)
    expected = [int(best[0]), 1, 1, 1 if errors[3, 0] < asked[3] else 2]
    assert whole.lengths.tolist() == [4 * count for count in expected]
    for number in range(4):
        one = tok.encode(images[number : number + 1], max_error=asked[number])
        assert torch.equal(one.lengths, whole.lengths[number : number + 1])
        own = tok.decode(tok.encode(images[number : number + 1], num_tokens=4 * expected[number]))
        torch.testing.assert_close(tok.decode(whole)[number : number + 1], own, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_patch_that_alit_told_well_is_blanked_for_later_rounds() -> None:
    tok = tiny("alit", settle_above=0.0)
    images = some_images(tok)
    blanked = tok.encode(images, num_tokens=8).indices
    tok.config = replace(tok.config, settle_above=1.1)
    kept = tok.encode(images, num_tokens=8).indices
    assert not torch.equal(blanked, kept)
    encoder, rollout = tok.encoder, tok.encoder.begin(images)
    settled = torch.zeros(2, encoder.num_patches, dtype=torch.bool)
    settled[1, 5] = True
    after = encoder.settle(rollout, settled).hidden
    changed = (after != rollout.hidden).any(-1).nonzero().tolist()
    assert changed == [[1, 6]]  # the class token comes first


@pytest.mark.parametrize("name", ["karl_small_vqgan_continuous", "alit_base_vqgan_quantized"])
def test_weights_behind_a_browser_link_are_asked_for_by_file(name: str, tmp_path: Path) -> None:
    _, weights = tokzoo.registry.find(name)
    with pytest.warns(UserWarning) as seen, pytest.raises(FileNotFoundError) as error:
        tokzoo.from_pretrained(name)
    assert all("all rights reserved" in str(warning.message) for warning in seen)
    assert weights.manual.file in str(error.value) and weights.manual.url in str(error.value)
    assert "file=PATH" in str(error.value)
    with pytest.raises(FileNotFoundError, match=f"at {tmp_path / weights.manual.file}"):
        tokzoo.from_pretrained(name, file=tmp_path)


def test_a_published_file_loads_by_its_path_with_the_averaged_weights(tmp_path: Path) -> None:
    from tokzoo.golden import read_case
    from tokzoo.hub import load_weights
    from tokzoo.registry import architectures
    from tokzoo.tokenizers.karl.golden import read_base
    from tokzoo.tokenizers.karl.weights import read_config

    case = read_case(Path(__file__).parents[1] / "golden" / "cases" / "karl_vqgan_tiny.json")
    file = tmp_path / "karl.pth"
    extra = {"gan_losses.0.discriminator.main.0.bias": torch.zeros(4)}
    wrong = {key: torch.zeros_like(value) for key, value in case.weights.items()}
    torch.save({"model": wrong, "ema": {**case.weights, **extra}, "epoch": 3}, file)
    config = replace(read_config(case.config, base=read_base(case)), image_size=64)
    tok = Karl(config)
    load_weights(tok, file, architecture=architectures()["karl_small_vqgan_quantized"])
    assert torch.equal(tok.encoder.queries, case.weights["latent_tokens"])


def test_tokens_that_count_survive_a_sequence_of_ids() -> None:
    tok = karl_that_halts()
    with torch.no_grad():
        tokens = tok.encode(four_images(tok), num_tokens=8)
    again = Tokens.from_sequence(tokens.to_sequence(offset=5), tok.token_spec, offset=5)
    assert torch.equal(again.valid, tokens.valid)
    assert torch.equal(tok.decode(again), tok.decode(tokens))


@pytest.mark.parametrize("family", ["karl", "alit"])
def test_scores_and_manifests_are_those_of_the_published_names(family: str) -> None:
    folder = Path(__file__).parents[1] / "golden" / "manifests"
    files = {json.loads(path.read_text())["hub"]["file"].partition(",")[0] for path in folder.glob(f"{family}_*.json")}
    named = {
        weights.manual.file
        for entry in tokzoo.registry.architectures().values()
        if entry.family == family
        for weights in entry.weights
    }
    assert files <= named
