"""Any discrete tokenizer can be given a GPT, a RAR or a MaskGIT, however many codes its tokens have."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tokzoo
from tests.helpers import families, some_conditions, some_images, tiny
from tokzoo.generators import words
from tokzoo.generators.gpt.config import TINY as GPT_TINY
from tokzoo.generators.gpt.model import Gpt
from tokzoo.generators.maskgit.config import TINY as MASKGIT_TINY
from tokzoo.generators.maskgit.model import Maskgit
from tokzoo.generators.on_codes import model as on_codes
from tokzoo.generators.on_codes.model import codebook_of, tables_of
from tokzoo.generators.rar.config import TINY as RAR_TINY
from tokzoo.generators.rar.model import Rar
from tokzoo.generators.words import Words
from tokzoo.tokens import Grid, Pyramid, Sequence, Tokens

SMALL = dict(width=32, depth=1, num_heads=2, num_classes=3)
GENERATORS = {
    "gpt_b": {"multiple_of": 32},
    "rar_b": {"mlp_dim": 64},
    "maskgit_titok_l32": {"mlp_dim": 64},
    "gpt_nano": {"table_width": 16, "dropout": 0.0},
    "maskgit_nano": {"table_width": 16, "mlp_dim": 64},
}
DISCRETE = sorted(name for name in families() if tiny(name).token_spec.levels)


@given(st.lists(st.integers(2, 300), min_size=1, max_size=5).map(tuple), st.integers(0, 1000))
def test_codes_that_are_said_in_words_are_read_again(levels: tuple[int, ...], seed: int) -> None:
    told = Words.for_levels(levels)
    noise = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(level, (2, 3), generator=noise) for level in levels], dim=-1)
    codes = codes.squeeze(-1)
    ids = told.of(codes)
    assert ids.shape == (2, 3 * len(told.sizes)) and ids.max() < told.vocabulary
    assert torch.equal(told.codes(ids), codes)
    assert not told.impossible().repeat(3, 1).expand(2, -1, -1).gather(2, ids.unsqueeze(-1)).any()


def test_few_values_are_one_word_many_are_several_and_each_has_ids_of_its_own() -> None:
    assert Words.for_levels((64000,)).sizes == (64000,)
    assert Words.for_levels((8, 8)).of(torch.tensor([[[3, 1]]])).tolist() == [[11]]
    assert Words.for_levels((4096, 4096)).of(torch.tensor([[[3, 1], [0, 5]]])).tolist() == [[3, 4097, 0, 4101]]
    assert Words.for_levels((256,) * 8).vocabulary == 2048
    assert Words.for_levels((2**24,)).of(torch.tensor([[5 + (7 << 12)]])).tolist() == [[5, 4096 + 7]]
    sequence = Tokens(layout=Sequence(2), indices=torch.tensor([[[3, 1], [0, 5]]]), levels=(4096, 4096))
    assert torch.equal(sequence.to_sequence(), Words.for_levels((4096, 4096)).of(sequence.indices))
    with pytest.raises(ValueError, match="300000 values is too much"):
        Words.for_levels((300_000,))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("family", DISCRETE)
def test_every_discrete_tokenizer_decodes_what_any_generator_makes_for_it(family: str, name: str) -> None:
    tok = tiny(family)
    model = tokzoo.create_model(name, tokenizer=tok, **SMALL, **GENERATORS[name]).eval()
    images = some_images(tok)
    conditions = some_conditions(tok, images)
    with torch.no_grad():
        tokens = tok.encode(images, **conditions)
    loss = model.loss(tokens, [0, 1], generator=torch.Generator().manual_seed(0))
    loss.backward()
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    assert loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)
    with torch.no_grad():
        if not name.startswith("maskgit"):
            count = tokens.indices.shape[1] if tokens.valid is None else tokens.valid.sum() / 2
            mean = -model.log_prob(tokens, [0, 1]).sum() / (2 * count * len(model.words.sizes))
            torch.testing.assert_close(mean, loss)
        made = model.sample([0, 2], guidance=1.5, generator=torch.Generator().manual_seed(0))
        assert made.levels == tok.token_spec.levels and len(made) == 2
        decoded = tok.decode(made, **conditions)
    assert decoded.shape == images.shape and decoded.isfinite().all()


def test_planes_of_growing_size_are_one_row_to_all_but_var() -> None:
    tok = tiny("xqgan")
    model = tokzoo.create_model("gpt_b", tokenizer=tok, **SMALL)
    assert model.layout == tok.token_spec.layout == Pyramid(((1, 1), (1, 1), (2, 2), (3, 3)))
    assert model.config.num_tokens == 15 and model.levels == (16, 16)
    coarse = tok.encode(some_images(tok))[:, :2]
    kept = model.sample([0, 1], given=coarse)
    assert torch.equal(kept.indices[:, :2], coarse.indices)
    with pytest.raises(ValueError, match="num_tokens must be 15, all of them; got 6"):
        model.sample(0, num_tokens=6)
    with pytest.raises(ValueError, match="stop_entropy is for tokens in a row"):
        model.sample(0, stop_entropy=1.0)
    with pytest.raises(ValueError, match="holds 15 words; num_tokens says 16"):
        tokzoo.create_model("gpt_b", tokenizer=tok, **SMALL, num_tokens=16)
    with pytest.raises(ValueError, match="makes one code a token, on square planes"):
        tokzoo.create_model("var_d16", tokenizer=tok)
    with pytest.raises(ValueError, match="the tokenizer's on Pyramid"):
        model.check_pair(replace(tok.token_spec, layout=Pyramid(((1, 1), (2, 2), (3, 3)))))


def in_two_words(build: type, config: object, **changes: object) -> Gpt | Rar | Maskgit:
    """A model of 3 tokens of codes of 2 and 3 values, said one after the other."""
    torch.manual_seed(0)
    sizes = dict(codebook_size=5, num_tokens=6, grid=None, slots=(2, 3)) | changes
    model = build(replace(config, **sizes)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


@torch.no_grad()
@pytest.mark.parametrize("build, config", [(Gpt, replace(GPT_TINY, positions="learned")), (Rar, RAR_TINY)])
def test_samples_in_words_are_of_the_distribution_that_log_prob_tells(
    build: type, config: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "MOST_JOINT", 1)
    model = in_two_words(build, config, num_tokens=4)  # two tokens: 36 samples in all
    every = torch.tensor(list(itertools.product(range(2), range(3), repeat=2))).view(-1, 2, 2)
    told = model.log_prob(Tokens(layout=Sequence(2), indices=every, levels=(2, 3)), [2] * 36).exp()
    assert told.sum().item() == pytest.approx(1, abs=1e-5)
    count = 20_000
    drawn = model.sample(2, num_samples=count, generator=torch.Generator().manual_seed(0)).indices
    assert drawn.shape == (count, 2, 2)
    seen = torch.bincount((drawn.flatten(1) * torch.tensor([18, 6, 3, 1])).sum(1), minlength=36)
    chi_square = ((seen - count * told) ** 2 / (count * told)).sum()
    assert chi_square < 66.6  # the 0.999 quantile with 35 degrees of freedom


@torch.no_grad()
@pytest.mark.parametrize(
    "build, config", [(Gpt, replace(GPT_TINY, positions="learned")), (Rar, RAR_TINY), (Maskgit, MASKGIT_TINY)]
)
def test_whole_tokens_are_kept_and_the_rest_is_made_of_possible_codes(
    build: type, config: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "MOST_JOINT", 1)
    model = in_two_words(build, config)
    assert model.layout == Sequence(3) and model.levels == (2, 3)
    given_codes = torch.tensor([[[1, 2], [0, 0], [0, 0]]])
    known = Tokens(layout=Sequence(3), indices=given_codes, levels=(2, 3), valid=torch.tensor([[True, False, False]]))
    made = model.sample([0] * 40, given=known, temperature=3.0, generator=torch.Generator().manual_seed(0)).indices
    assert (made[:, 0] == torch.tensor([1, 2])).all()
    assert made.amax((0, 1)).tolist() == [1, 2] and made.min() == 0
    untrained = build(model.config)
    torch.nn.init.zeros_(untrained.head.weight)
    loss = untrained.loss(Tokens(layout=Sequence(3), indices=made, levels=(2, 3)), [0] * 40)
    assert loss.item() == pytest.approx((math.log(2) + math.log(3)) / 2, abs=0.05)


@torch.no_grad()
def test_a_code_vector_is_of_all_codes_of_a_token_or_of_what_one_word_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    tok = tiny("wetok")
    model = tokzoo.create_model("gpt_nano", tokenizer=tok, **SMALL, table_width=16).eval()
    made = model.sample([0, 1], generator=torch.Generator().manual_seed(0))
    codes, joint = tok.codes(made), made.indices @ torch.tensor([1, 8])
    torch.testing.assert_close(codebook_of(tok)[joint], codes)
    assert tables_of(model)[0].codebook.square().mean().item() == pytest.approx(1)
    monkeypatch.setattr(words, "MOST_JOINT", 1)
    monkeypatch.setattr(on_codes, "MOST_AT_ONCE", 2 * made.num_tokens)  # several samples, and not all in one go
    first, second = codebook_of(tok).split((8, 8))
    sums = first[made.indices[..., 0]] + second[made.indices[..., 1]]
    torch.testing.assert_close(sums - sums.mean((0, 1)), codes - codes.mean((0, 1)))


@torch.no_grad()
def test_the_code_vector_of_a_pyramid_is_what_its_first_token_adds() -> None:
    tok = tiny("var_vqvae")
    vectors, codebook = codebook_of(tok), tok.quantizer.inner[0].codebook
    assert len(vectors) == len(codebook)
    apart = torch.cdist(vectors, vectors)
    assert apart[~torch.eye(len(vectors), dtype=torch.bool)].min() > 1e-3


def test_words_of_a_token_stand_side_by_side_on_a_grid() -> None:
    tok = tokzoo.create_model("tokenbridge_nano")
    model = tokzoo.create_model("gpt_b", tokenizer=tok, **SMALL)
    assert model.config.grid == (8, 128) and model.config.num_tokens == 1024
    assert model.layout == Grid(8, 8) and model.levels == (64,) * 16
    model.check_pair(tok.token_spec)
