"""Entropies of assignments equal their plain formulas, without the tables that those make."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.test_nearest import LargestTensor
from tokzoo.losses import entropy as module
from tokzoo.losses.entropy import Entropy, bit_entropy, codebook_entropy, entropy_loss
from tokzoo.quantizers.sign import BinarySphericalQuantizer, GroupedBinaryQuantizer, LookupFreeQuantizer


def plain(logits: torch.Tensor) -> Entropy:
    shares = logits.softmax(-1)
    mean = shares.mean(0)
    return Entropy(torch.special.entr(shares).sum(-1).mean(), torch.special.entr(mean).sum())


def with_gradients(terms: Entropy, *inputs: torch.Tensor) -> list[torch.Tensor]:
    per_token = torch.autograd.grad(terms.per_token, inputs, retain_graph=True)
    overall = torch.autograd.grad(terms.overall, inputs)
    return [terms.per_token, terms.overall, *per_token, *overall]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 5), st.integers(0, 2**31))
def test_of_a_codebook(tokens: int, rows: int, channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((tokens, channels), (rows, channels), (rows,))
    points, table, bias = (torch.randn(*s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes)
    ours = with_gradients(codebook_entropy(points, table, bias), points, table, bias)
    theirs = with_gradients(plain(points @ table.t() + bias), points, table, bias)
    torch.testing.assert_close(ours, theirs)
    loss = entropy_loss(points @ table.t() + bias).double()
    torch.testing.assert_close(codebook_entropy(points, table, bias).loss, loss, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**31))
def test_of_bits_over_all_words(tokens: int, bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(tokens, bits, generator=generator, dtype=torch.float64)).requires_grad_()
    words = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * bits).double().reshape(-1, bits)
    ours = with_gradients(bit_entropy(logits), logits)
    theirs = with_gradients(plain(logits @ words.t()), logits)
    torch.testing.assert_close(ours, theirs)


def test_in_pieces_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    points, rows = torch.randn(50, 3, requires_grad=True), torch.randn(20, 3, requires_grad=True)
    logits = torch.randn(50, 6, requires_grad=True)
    whole = with_gradients(codebook_entropy(points, rows), points, rows), with_gradients(bit_entropy(logits), logits)
    monkeypatch.setattr(module, "CHUNK_VALUES", 100)
    pieces = with_gradients(codebook_entropy(points, rows), points, rows), with_gradients(bit_entropy(logits), logits)
    torch.testing.assert_close(pieces, whole)


def test_18_bits_need_neither_all_codes_nor_a_row_of_them_for_each_token() -> None:
    latents = torch.randn(1, 4096, 18, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with LargestTensor() as watched:
        LookupFreeQuantizer(18).entropy(latents).loss.backward()
    assert watched.most <= 16 * 2**20  # 4096 x 2^18 values would be 4 GiB


def test_groups_of_bsq_are_exact_in_a_group_and_independent_between_them() -> None:
    latents = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    one, two = (BinarySphericalQuantizer(6, entropy_group=group).entropy(latents) for group in (1, 6))
    torch.testing.assert_close(one.per_token, two.per_token)
    assert one.overall >= two.overall  # independent bits have the most entropy
    logits = torch.nn.functional.normalize(latents, dim=-1).flatten(0, 1) * 4 / 6**0.5
    torch.testing.assert_close(BinarySphericalQuantizer(6, entropy_group=6).entropy(latents), bit_entropy(logits))


def test_groups_of_gfq_are_rows_like_tokens() -> None:
    latents = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0)) * 0.02
    rows = latents.reshape(-1, 3) * 400
    torch.testing.assert_close(GroupedBinaryQuantizer(6, 2).entropy(latents), bit_entropy(rows))
