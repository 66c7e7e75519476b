"""What generators promise: a cache changes nothing, guidance is one batch, draws are of the distribution."""

import itertools
from dataclasses import replace

import pytest
import torch

import tokzoo
from tokzoo.generators.conditions import Text, join
from tokzoo.generators.fill_in import Filling
from tokzoo.generators.gpt.config import TINY as GPT_TINY
from tokzoo.generators.gpt.model import Gpt
from tokzoo.generators.ibq.model import IbqGpt
from tokzoo.generators.maskgit.config import TINY as MASKGIT_TINY
from tokzoo.generators.maskgit.model import Maskgit
from tokzoo.generators.on_codes.config import TINY as CODE_TINY
from tokzoo.generators.on_codes.model import CodeGpt
from tokzoo.generators.rar.config import TINY as RAR_TINY
from tokzoo.generators.rar.model import Rar
from tokzoo.generators.sampling import draw, entropy, first_uncertain, guide, keep_likely
from tokzoo.tokens import Grid, Sequence, Tokens

GPT_TEXT = replace(GPT_TINY, text_tokens=5, text_dim=8)
GPT_ROW = replace(GPT_TINY, num_tokens=6, grid=None, positions="learned")
KINDS = {
    "gpt": (Gpt, GPT_TINY),
    "text": (Gpt, GPT_TEXT),
    "row": (Gpt, GPT_ROW),
    "rar": (Rar, RAR_TINY),
    "ibq": (IbqGpt, GPT_TINY),
    "codes": (CodeGpt, CODE_TINY),
}


def made(kind: str, seed: int = 0, **changes: object) -> Gpt | Rar:
    """A tiny model of which the head says something."""
    torch.manual_seed(seed)
    build, config = KINDS[kind]
    model = build(replace(config, **changes)).eval()
    torch.nn.init.normal_(model.head.bias if kind == "codes" else model.head.weight, std=0.3)
    return model


def some(model: Gpt | Rar, count: int = 3) -> tuple[torch.Tensor, object]:
    noise = torch.Generator().manual_seed(1)
    indices = torch.randint(model.config.codebook_size, (count, model.config.num_tokens), generator=noise)
    if getattr(model.config, "text_tokens", 0):
        features = torch.randn(count, model.config.text_tokens, model.config.text_dim, generator=noise)
        return indices, Text(features, torch.arange(model.config.text_tokens) >= torch.arange(count)[:, None])
    return indices, torch.arange(count)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0, 4])
def test_logits_with_a_cache_equal_those_without(kind: str, start: int) -> None:
    model = made(kind)
    indices, labels = some(model)
    condition = model.condition(labels)
    both = join(condition, model.null(condition))
    whole = model.logits(indices.repeat(2, 1), both)
    caches = model.new_caches(6, model.config.num_tokens)
    storage = caches[0].keys.data_ptr()
    for step in range(start, model.config.num_tokens):
        fresh = indices[:, :start] if step == start else indices[:, step - 1 : step]
        logits = model.next_logits(fresh.repeat(2, 1), both, caches)
        torch.testing.assert_close(logits, whole[:, step], atol=1e-5, rtol=1e-5)
    assert caches[0].keys.data_ptr() == storage


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_guidance_in_one_batch_equals_two_passes(kind: str) -> None:
    model = made(kind)
    _, labels = some(model)
    tokens = model.sample(labels, guidance=3.0, temperature=0)
    condition = model.condition(labels)
    conditional = model.logits(tokens.indices, condition)
    unconditional = model.logits(tokens.indices, model.null(condition))
    expected = (unconditional + 3 * (conditional - unconditional)).argmax(-1)
    assert torch.equal(tokens.indices, expected)


@torch.no_grad()
def test_guidance_of_what_is_filled_in_equals_two_passes() -> None:
    torch.manual_seed(0)
    model = Maskgit(MASKGIT_TINY).eval()
    torch.nn.init.normal_(model.head.weight, std=0.3)
    tokens = model.sample([1, 2], guidance=3.0, temperature=0, num_steps=1)
    condition, blank = torch.tensor([1, 2]), torch.full((2, MASKGIT_TINY.num_tokens), model.mask)
    conditional, unconditional = model.logits(blank, condition), model.logits(blank, model.null(condition))
    assert torch.equal(tokens.indices, (unconditional + 3 * (conditional - unconditional)).argmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "row", "rar", "ibq", "codes"])
def test_samples_are_of_the_distribution_that_log_prob_tells(kind: str) -> None:
    grid = None if kind in ("row", "codes") else (1, 3)
    model = made(kind, codebook_size=3, num_tokens=3, grid=grid)
    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    told = model.log_prob(Tokens(layout=model.layout, indices=every, levels=(3,)), [2] * 27).exp()
    assert told.sum().item() == pytest.approx(1, abs=1e-5)
    count = 20_000
    drawn = model.sample(2, num_samples=count, generator=torch.Generator().manual_seed(0)).indices
    seen = torch.bincount((drawn * torch.tensor([9, 3, 1])).sum(1), minlength=27)
    chi_square = ((seen - count * told) ** 2 / (count * told)).sum()
    assert chi_square < 54.05  # the 0.999 quantile with 26 degrees of freedom


def test_top_p_keeps_the_token_that_crosses_and_ties_of_top_k_stay() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert keep_likely(logits, top_p=0.6).isfinite().tolist() == [[True, True, False, False]]
    assert keep_likely(torch.tensor([[1.0, 1.0, 0.0]]), top_k=1).isfinite().tolist() == [[True, True, False]]
    assert draw(logits, temperature=0).tolist() == [0]
    assert guide(torch.tensor([[2.0], [1.0]]), 3.0).tolist() == [[4.0]]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "rar", "ibq"])
def test_a_prefix_stays_and_half_a_grid_is_completed(kind: str) -> None:
    model = made(kind)
    indices, _ = some(model, 1)
    valid = torch.arange(16)[None] < 8
    half = Tokens(layout=Grid(4, 4), indices=indices, levels=(40,), valid=valid)
    done = model.sample([1, 2], given=half, num_samples=2, temperature=0)
    assert done.layout == Grid(4, 4) and len(done) == 4
    assert torch.equal(done.indices[:, :8], indices[:, :8].expand(4, -1))
    said = model.logits(done.indices, model.condition([1, 1, 2, 2])).argmax(-1)
    assert torch.equal(done.indices[:, 8:], said[:, 8:])
    if kind != "rar":
        with pytest.raises(ValueError, match="must be the first ones"):
            model.sample(1, given=replace(half, valid=valid.flip(1)))


@torch.no_grad()
@pytest.mark.parametrize("compiled", [False, True])
def test_rar_completes_any_set_of_tokens_each_having_seen_all_of_it(compiled: bool) -> None:
    model = made("rar")
    indices, _ = some(model, 2)
    valid = torch.rand(2, 16, generator=torch.Generator().manual_seed(2)).argsort(1) < 5
    known = Tokens(layout=model.layout, indices=indices, levels=(40,), valid=valid)
    if compiled:
        torch._dynamo.reset()
        model.compile_steps(backend="eager")
    done = model.sample([1, 2], given=known, guidance=2.0, temperature=0).indices
    assert torch.equal(done[valid], indices[valid])
    orders = torch.stack([torch.cat([row.nonzero(), (~row).nonzero()]).squeeze(1) for row in valid])
    condition = model.condition([1, 2])
    asked = join(condition, model.null(condition))
    said = guide(model.logits(done.repeat(2, 1), asked, orders.repeat(2, 1)), 2.0).argmax(-1)
    assert torch.equal(done.gather(1, orders)[:, 5:], said[:, 5:])
    with pytest.raises(ValueError, match=r"as many tokens must be given in each sample; got \[5, 6\]"):
        model.sample([1, 2], given=replace(known, valid=valid | ((~valid).cumsum(1) <= torch.tensor([[0], [1]]))))
    row = made("rar", grid=None)
    with pytest.raises(ValueError, match="given ones must be the first, too"):
        row.sample([1, 2], given=replace(known, layout=Sequence(16)), stop_entropy=1.0)


@torch.no_grad()
def test_fewer_tokens_of_a_row_are_the_first_of_all() -> None:
    model = made("row")
    short, long = (model.sample([0, 1], num_tokens=n, guidance=2.0, temperature=0) for n in (3, 6))
    assert short.layout == Sequence(3) and torch.equal(short.indices, long.indices[:, :3])


@torch.no_grad()
def test_a_sample_ends_before_it_becomes_uncertain() -> None:
    entropies = torch.tensor([[0.0] * 8 + [4.0] * 8, [1.0] * 16, [9.0] * 16])
    means = [[row[max(0, end - 8) : end].mean().item() for end in range(1, 17)] for row in entropies]
    expected = [max(1, next((end for end, mean in enumerate(row) if mean > 1.6), 16)) for row in means]
    assert first_uncertain(entropies, 1.6).tolist() == expected == [11, 16, 1]
    model = made("row")
    whole = model.sample([0, 1], num_samples=4, generator=torch.Generator().manual_seed(0))
    bound = entropy(model.logits(whole.indices, model.condition([0, 1]).repeat_interleave(4))).median().item()
    short = model.sample([0, 1], num_samples=4, stop_entropy=bound, generator=torch.Generator().manual_seed(0))
    assert 1 <= short.lengths.min() < short.lengths.max()
    assert torch.equal(short.indices[short.valid], whole.indices[short.valid])
    none = model.sample([0, 1], num_samples=4, stop_entropy=100.0, generator=torch.Generator().manual_seed(0))
    assert bool(none.valid.all())
    with pytest.raises(ValueError, match="whole or nothing"):
        made("gpt").sample(1, stop_entropy=1.0)


def test_tokens_that_do_not_count_have_no_say_in_the_likelihood() -> None:
    model = made("row")
    indices, labels = some(model)
    valid = torch.tensor([6, 2, 4]).unsqueeze(1) > torch.arange(6)
    tokens = Tokens(layout=Sequence(6), indices=indices, levels=(40,), valid=valid)
    other = replace(tokens, indices=indices.masked_fill(~valid, 0))
    torch.testing.assert_close(model.log_prob(tokens, labels), model.log_prob(other, labels))
    expected = -model.log_prob(tokens, labels).sum() / 12
    torch.testing.assert_close(model.loss(tokens, labels), expected)


def test_what_does_not_count_is_read_last_in_random_orders() -> None:
    model = made("rar", grid=None)
    indices, labels = some(model)
    valid = torch.arange(16) % torch.tensor([2, 3, 4]).unsqueeze(1) == 0
    losses = []
    for hidden in (0, 7):
        tokens = Tokens(layout=Sequence(16), indices=indices.masked_fill(~valid, hidden), levels=(40,), valid=valid)
        losses.append(model.loss(tokens, labels, random_orders=1.0, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(losses[0], losses[1])


def test_random_orders_are_told_where_the_next_token_lies() -> None:
    model = made("rar")
    indices, labels = some(model)
    raster = torch.arange(16).expand(3, -1)
    swapped = raster.clone()
    swapped[:, 14:] = torch.tensor([15, 14])  # the same first 14 tokens, another next place
    one, other = model.logits(indices, labels, raster), model.logits(indices, labels, swapped)
    torch.testing.assert_close(one[:, :14], other[:, :14])
    assert (one[:, 14] - other[:, 14]).abs().max() > 1e-3


@torch.no_grad()
def test_maskgit_reveals_by_the_schedule_and_never_takes_back() -> None:
    torch.manual_seed(0)
    model = Maskgit(replace(MASKGIT_TINY, num_tokens=32)).eval()
    how = Filling(num_steps=8, guidance=2.0, guidance_schedule="linear", temperature=4.0, annealed=True)
    blank = torch.full((2, 32), model.mask)
    states = list(model.steps(blank, torch.tensor([1, 2]), how, torch.Generator().manual_seed(0)))
    assert [(state == model.mask).sum(1).tolist() for state in states[1:]] == [
        [left, left] for left in (29, 26, 24, 21, 18, 14, 10, 0)
    ]
    for before, after in itertools.pairwise(states):
        assert torch.equal(after[before != model.mask], before[before != model.mask])


@pytest.mark.parametrize("name", ["gpt_b", "rar_b", "maskgit_titok_l32"])
def test_a_generator_is_made_for_a_tokenizer_and_learns_its_tokens(name: str) -> None:
    tok = tokzoo.create_model("titok_nano", num_tokens=8)
    small = dict(width=32, depth=2, num_heads=2) | ({} if name == "gpt_b" else {"mlp_dim": 64})
    model = tokzoo.create_model(name, tokenizer=tok, num_classes=4, **small)
    model.check_pair(tok.token_spec)
    tokens = Tokens(
        layout=Sequence(8), indices=torch.randint(tok.token_spec.levels[0], (4, 8)), levels=tok.token_spec.levels
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    noise = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(tokens, [0, 1, 2, 3], label_dropout=0.1, generator=noise)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert tok.decode(model.sample([0, 3])).shape[0] == 2


def test_saved_and_loaded_a_generator_makes_the_same(tmp_path: object) -> None:
    model = tokzoo.create_model("gpt_b", width=32, depth=1, num_heads=2, num_tokens=4, grid=(2, 2), codebook_size=8)
    torch.nn.init.normal_(model.head.weight)
    again = tokzoo.from_pretrained(model.save_pretrained(tmp_path))
    assert torch.equal(again.eval().sample(3, temperature=0).indices, model.eval().sample(3, temperature=0).indices)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        (dict(labels=10), "labels must be 0 to 9; got"),
        (dict(labels=[0.5]), "labels must be integers"),
        (dict(temperature=-1.0), "temperature must be 0"),
        (dict(top_p=0.0), "use temperature=0"),
        (dict(temperature="hot"), "temperature must be 0 .* got 'hot'"),
        (dict(top_k=0), "top_k must be a whole number from 1 on"),
        (dict(top_k=2.5), "top_k must be a whole number from 1 on"),
        (dict(guidance=float("nan")), "guidance must be a finite number"),
        (dict(num_samples=0), "num_samples must be a whole number from 1 on"),
        (dict(num_samples=1.5), "num_samples must be a whole number from 1 on"),
        (dict(num_tokens=9), "num_tokens must be 1 to 6"),
        (dict(num_tokens=2.5), "num_tokens must be 1 to 6; got 2.5"),
        (dict(stop_entropy=float("nan")), "stop_entropy must be 0 or positive"),
        (dict(guided_tokens=-1), "guided_tokens must be a whole number from 0 on"),
        (dict(guidance_power=-1.0), "guidance_power must be 0 or positive"),
        (dict(guidance_schedule="sudden"), "schedule must be one of constant, linear"),
    ],
)
def test_bad_knobs_are_named(knobs: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made("row").sample(**({"labels": 1} | knobs))


def test_bad_pairs_and_tokens_are_named() -> None:
    model = made("row")
    with pytest.raises(ValueError, match="no null class"):
        made("row", null_class=False).sample(1, guidance=2.0)
    other = Tokens(layout=Sequence(6), indices=torch.zeros(1, 6, dtype=torch.int64), levels=(41,))
    with pytest.raises(ValueError, match="of another tokenizer"):
        model.log_prob(other, [1])
    longer = Tokens(layout=Sequence(7), indices=torch.zeros(1, 7, dtype=torch.int64), levels=(40,))
    with pytest.raises(ValueError, match="7 tokens are given, more than the 6"):
        model.sample(1, given=longer)
    with pytest.raises(ValueError, match="they are no pair"):
        model.check_pair(tokzoo.create_model("titok_nano").token_spec)
    with pytest.raises(ValueError, match="99 in slot 0 among them; allowed are 0 to 39"):
        model.log_prob(Tokens(layout=Sequence(6), indices=torch.full((1, 6), 99), levels=(40,)), [1])
    with pytest.raises(ValueError, match="given tokens must be 1 or 3 samples; got 2"):
        model.sample([1, 2, 3], given=Tokens(layout=Sequence(2), indices=torch.zeros(2, 2, dtype=torch.int64)))
    for labels in ("cat", None, 1.0):
        with pytest.raises(TypeError, match="labels must be a class number, or several; got"):
            model.sample(labels)
    with pytest.raises(TypeError, match=r"must be Tokens, .* got Tensor"):
        model.sample(1, given=torch.zeros(1, 3))
    with pytest.raises(TypeError, match="no knob of this generator is called top; there are guidance,"):
        model.sample(1, top=3)
    with pytest.raises(ValueError, match="continuous"):
        tokzoo.create_model("gpt_b", tokenizer=tokzoo.create_model("titok_nano", bottleneck="kl"))
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"from step 0 on: the first such layer is blocks.1.mlp.fc1"):
        model.sample(1)
