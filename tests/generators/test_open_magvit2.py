"""What a GPT of tokens in parts promises: its parts are the whole index, and a cache changes nothing."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import tokzoo
from tokzoo.generators.conditions import join
from tokzoo.generators.open_magvit2.config import TINY
from tokzoo.generators.open_magvit2.model import OpenMagvit2Gpt
from tokzoo.layers.causal import PlacedCache
from tokzoo.tokens import Grid, Tokens


def made(**changes: object) -> OpenMagvit2Gpt:
    """A tiny model of which the heads say something."""
    torch.manual_seed(0)
    model = OpenMagvit2Gpt(replace(TINY, **changes)).eval()
    for output in model.head.outputs:
        torch.nn.init.normal_(output.weight, std=0.3)
    return model


@torch.no_grad()
def test_samples_with_caches_and_guidance_are_the_likeliest_without() -> None:
    model = made()
    tokens = model.sample([3, 4, 5], guidance=(3.0, 1.5), temperature=0)
    labels = model.condition([3, 4, 5])
    both = model.part_logits(tokens.indices.repeat(2, 1), join(labels, model.null(labels)))
    for logits, scale, part in zip(both, (3.0, 1.5), model.embed.split(tokens.indices), strict=True):
        conditional, unconditional = logits.chunk(2)
        assert torch.equal(part, (unconditional + scale * (conditional - unconditional)).argmax(-1))


@torch.no_grad()
def test_compiled_steps_draw_the_same_with_one_graph_and_one_for_each_part() -> None:
    torch._dynamo.reset()
    model, counter = made(), CompileCounter()
    eager = model.sample([3, 4], guidance=2.0, generator=torch.Generator().manual_seed(0))
    model.compile_steps(backend=counter)
    for _ in range(2):
        compiled = model.sample([3, 4], guidance=2.0, generator=torch.Generator().manual_seed(0))
        assert torch.equal(compiled.indices, eager.indices)
    assert counter.frame_count == 1 + 2


@torch.no_grad()
def test_a_step_and_its_parts_ask_no_number_and_no_tensor_of_another_device() -> None:
    model = made().to("meta")
    place = torch.zeros(1, dtype=torch.int64, device="meta")
    caches = [PlacedCache(cache, place) for cache in model.new_caches(3, 6)]
    told = model.step(torch.zeros_like(place).expand(3, 1), torch.zeros_like(place).expand(3), caches)
    assert told.shape == (3, 1, 64) and model.part_step(told.expand(-1, 2, -1)).shape == (3, 16)


@torch.no_grad()
def test_samples_are_of_the_distribution_that_log_prob_tells() -> None:
    model = made(codebook_size=8, slot_bits=(1, 2), num_tokens=2, grid=(1, 2))
    every = torch.tensor(list(itertools.product(range(8), repeat=2)))
    told = model.log_prob(Tokens(layout=Grid(1, 2), indices=every, levels=(8,)), [2] * 64).exp()
    assert told.sum().item() == pytest.approx(1, abs=1e-5)
    count = 20_000
    drawn = model.sample(2, num_samples=count, generator=torch.Generator().manual_seed(0)).indices
    seen = torch.bincount((drawn * torch.tensor([8, 1])).sum(1), minlength=64)
    chi_square = ((seen - count * told) ** 2 / (count * told)).sum()
    assert chi_square < 103.4  # the 0.999 quantile with 63 degrees of freedom


@torch.no_grad()
def test_half_a_grid_is_completed() -> None:
    model = made()
    indices = torch.randint(64, (1, 16), generator=torch.Generator().manual_seed(1))
    half = Tokens(layout=Grid(4, 4), indices=indices, levels=(64,), valid=torch.arange(16)[None] < 8)
    done = model.sample([1, 2], given=half, temperature=0)
    assert torch.equal(done.indices[:, :8], indices[:, :8].expand(2, -1))
    said = model.part_logits(done.indices, model.condition([1, 2]))
    for part, logits in zip(model.embed.split(done.indices), said, strict=True):
        assert torch.equal(part[:, 8:], logits.argmax(-1)[:, 8:])


def test_it_is_made_for_words_of_bits_and_learns_them() -> None:
    tok = tokzoo.create_model("open_magvit2_256", image_size=32, width=32, multipliers=(1, 2), num_blocks=1, code_dim=6)
    sizes = dict(width=32, depth=1, num_heads=2, slot_depth=1, multiple_of=32, num_classes=4)
    model = tokzoo.create_model("open_magvit2_ar_b", tokenizer=tok, **sizes)
    model.check_pair(tok.token_spec)
    assert model.config.slot_bits == (2, 4)
    indices = torch.randint(64, (2, 256), generator=torch.Generator().manual_seed(0))
    tokens = Tokens(layout=Grid(16, 16), indices=indices, levels=(64,))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model.loss(tokens, [0, 1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(4.159, abs=1e-3)  # ln 64: untrained, all are as likely
    assert losses[-1] < 0.9 * losses[0]


def test_what_cannot_be_is_named() -> None:
    model = made()
    with pytest.raises(ValueError, match=r"parts of \(2, 3\) bits are no index of 64 values"):
        made(slot_bits=(2, 3))
    with pytest.raises(ValueError, match="one for each of the 2 parts"):
        model.sample(1, guidance=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="labels must be 0 to 9"):
        model.sample(-1)
    with pytest.raises(ValueError, match="no null class"):
        made(null_class=False).sample(1, guidance=(1.0, 2.0))
    with torch.no_grad():
        model.head.blocks[1].mlp.fc1.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"from step 0 on: the first such layer is head.blocks.1.mlp.fc1"):
        model.sample(1)
