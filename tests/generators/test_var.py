"""What VAR promises: a scale sees those before it and itself, in as many passes as there are scales."""

import itertools
from dataclasses import replace

import pytest
import torch

from tokzoo.generation import Pipeline
from tokzoo.generators.conditions import join
from tokzoo.generators.var.config import TINY
from tokzoo.generators.var.model import Var
from tokzoo.tokenizers.var_vqvae.config import TINY as TOKENIZER_TINY
from tokzoo.tokenizers.var_vqvae.model import VarVqvae
from tokzoo.tokens import Pyramid, Tokens


def made(**changes: object) -> Var:
    """A tiny model of which the head says something, with its tokenizer."""
    torch.manual_seed(0)
    config = replace(TINY, **changes)
    sizes = dict(codebook_size=config.codebook_size, scales=config.scales, image_size=4 * config.scales[-1])
    model = Var(config).eval()
    model.read_tokenizer(VarVqvae(replace(TOKENIZER_TINY, **sizes)).eval())
    torch.nn.init.normal_(model.head.weight, std=0.3)
    torch.nn.init.normal_(model.embed.weight)
    model._quantizer[0].inner[0].codebook.data.normal_()
    return model


def some(model: Var, count: int = 2) -> torch.Tensor:
    noise = torch.Generator().manual_seed(1)
    return torch.randint(model.config.codebook_size, (count, model.config.num_tokens), generator=noise)


@torch.no_grad()
@pytest.mark.parametrize("shared", [False, True])
def test_logits_of_a_scale_with_a_cache_equal_those_without(shared: bool) -> None:
    model = made(shared_modulation=shared)
    indices = some(model)
    labels = model.condition([1, 2])
    both = join(labels, model.null(labels))
    whole = model.logits(indices.repeat(2, 1), both)
    caches = model.new_caches(4, 30)
    ends = [0, 1, 5, 14, 30]
    for begun, end in itertools.pairwise(ends):
        logits = model.next_logits(indices[:, :begun], both, caches)
        torch.testing.assert_close(logits, whole[:, begun:end], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.logits(indices.repeat(2, 1)[:, :end], both), whole[:, :end])


@torch.no_grad()
def test_a_token_changes_what_is_said_of_later_scales_alone() -> None:
    model = made()
    indices = some(model)
    changed = indices.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 16  # of the third scale, tokens 5 to 13
    before, after = (model.logits(each, model.condition([1, 2])) for each in (indices, changed))
    torch.testing.assert_close(before[:, :14], after[:, :14])
    assert (before[:, 14:] - after[:, 14:]).abs().amax(dim=(1, 2)).min() > 1e-3


@torch.no_grad()
def test_guidance_grows_along_the_scales_in_one_pass_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made()
    passes = []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda *given: passes.append(given) or predict(*given))
    tokens = model.sample([3, 4], guidance=4.0, temperature=0)
    assert len(passes) == 4 and tokens.layout == Pyramid(((1, 1), (2, 2), (3, 3), (4, 4)))
    labels = model.condition([3, 4])
    conditional, unconditional = model.logits(tokens.indices, labels), model.logits(tokens.indices, model.null(labels))
    scale = (1 + model.scale_of)[:, None]  # 1, 2, 3, 4
    assert torch.equal(tokens.indices, (unconditional + scale * (conditional - unconditional)).argmax(-1))


@torch.no_grad()
def test_samples_are_of_the_distribution_that_log_prob_tells() -> None:
    model = made(codebook_size=2, scales=(1, 2))
    every = torch.tensor(list(itertools.product(range(2), repeat=5)))
    told = model.log_prob(Tokens(layout=model.layout, indices=every, levels=(2,)), [2] * 32).exp()
    assert told.sum().item() == pytest.approx(1, abs=1e-5)
    count = 20_000
    drawn = model.sample(2, num_samples=count, generator=torch.Generator().manual_seed(0)).indices
    seen = torch.bincount((drawn * torch.tensor([16, 8, 4, 2, 1])).sum(1), minlength=32)
    chi_square = ((seen - count * told) ** 2 / (count * told)).sum()
    assert chi_square < 61.10  # the 0.999 quantile with 31 degrees of freedom


@torch.no_grad()
def test_given_tokens_stay_and_fewer_scales_are_the_first_of_all() -> None:
    model = made()
    indices = some(model, 1)
    valid = torch.arange(30)[None] % 2 == 0
    given = Tokens(layout=model.layout, indices=indices, levels=(16,), valid=valid)
    done = model.sample([1, 2], given=given, generator=torch.Generator().manual_seed(0))
    assert torch.equal(done.indices[:, ::2], indices[:, ::2].expand(2, -1))
    short, whole = (model.sample([1, 2], num_scales=count, temperature=0) for count in (3, None))
    assert short.layout.scales == ((1, 1), (2, 2), (3, 3))
    assert torch.equal(short.indices, whole.indices[:, :14])


def test_a_pipeline_gives_it_the_codes_of_its_tokenizer() -> None:
    torch.manual_seed(0)
    tok = VarVqvae(replace(TOKENIZER_TINY)).eval()
    images = Pipeline(Var(TINY).eval(), tok)([1, 2], guidance=2.0, seed=0)
    assert images.shape == (2, 3, 16, 16)


def test_it_learns_and_what_cannot_be_is_named() -> None:
    model = made()
    tokens = Tokens(layout=model.layout, indices=some(model), levels=(16,))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model.loss(tokens, [1, 2])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match=r"read_tokenizer\(tok\)"):
        Var(TINY).sample(1)
    with pytest.raises(TypeError, match="its 4 passes are of unlike sizes"):
        model.compile_steps()
    with pytest.raises(ValueError, match="labels must be 0 to 9"):
        model.sample(10)
    with pytest.raises(ValueError, match="num_scales must be 1 to 4; got 5"):
        model.sample(1, num_scales=5)
    with pytest.raises(ValueError, match="no null class"):
        made(null_class=False).sample(1, guidance=2.0)
    with pytest.raises(ValueError, match="they are no pair"):
        model.check_pair(VarVqvae(replace(TOKENIZER_TINY, codebook_size=9)).token_spec)
    other = Tokens(layout=Pyramid(((1, 1), (3, 3))), indices=torch.zeros(1, 10, dtype=torch.int64), levels=(16,))
    with pytest.raises(ValueError, match="this generator's tokens lie on"):
        model.log_prob(other, [1])
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"from scale 0 on: the first such layer is blocks.1.mlp.fc1"):
        model.sample(1)
