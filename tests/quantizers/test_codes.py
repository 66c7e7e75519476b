"""Index orders, bijections and gradients, as they are stated."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantizers.shelf import latents_for, make
from tokzoo.quantizers.digits import Digits, slots_of
from tokzoo.quantizers.fsq import (
    FiniteScalarQuantizer,
    ListedFiniteScalarQuantizer,
    SymmetricFiniteScalarQuantizer,
)
from tokzoo.quantizers.gumbel import GumbelQuantizer
from tokzoo.quantizers.index_backprop import IndexBackpropQuantizer
from tokzoo.quantizers.sign import BinarySphericalQuantizer, GroupedBinaryQuantizer, LookupFreeQuantizer
from tokzoo.quantizers.soft import SoftVectorQuantizer, soft_codes
from tokzoo.quantizers.through import rotate, straight_through
from tokzoo.quantizers.vector import VectorQuantizer

FAST = settings(max_examples=40, deadline=None)
FSQ = [FiniteScalarQuantizer, ListedFiniteScalarQuantizer, SymmetricFiniteScalarQuantizer]


@FAST
@given(st.data())
def test_digits_come_back_from_their_indices_and_fill_every_level(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sizes)), max_size=3)) | {len(sizes)})
    slots = [end - start for start, end in zip([0, *cuts], cuts, strict=False)]
    digits = Digits(sizes, slots, first_is_high=data.draw(st.booleans()))
    assert math.prod(digits.levels) == math.prod(sizes)
    numbers = torch.tensor([[data.draw(st.integers(0, size - 1)) for size in sizes] for _ in range(5)])
    assert torch.equal(digits.unpack(digits.pack(numbers)), numbers)
    top = digits.pack(torch.tensor([size - 1 for size in sizes]))
    assert top.reshape(-1).tolist() == [level - 1 for level in digits.levels]


@FAST
@given(st.integers(1, 200))
def test_more_than_63_bits_are_slots_of_eight(count: int) -> None:
    slots = slots_of(count)
    assert sum(slots) == count
    assert slots == (count,) if count <= 63 else set(slots[:-1]) == {8} and slots[-1] <= 8


def test_63_bits_are_exact() -> None:
    digits = Digits([2] * 63)
    bits = torch.randint(0, 2, (20, 63), generator=torch.Generator().manual_seed(0))
    wanted = [sum(bit << place for place, bit in enumerate(row)) for row in bits.tolist()]
    assert digits.pack(bits).tolist() == wanted
    assert torch.equal(digits.unpack(digits.pack(bits)), bits)


def test_the_first_channel_varies_fastest_or_is_the_highest_as_it_says() -> None:
    assert LookupFreeQuantizer(3).decode(torch.tensor([[1]])).tolist() == [[[1, -1, -1]]]
    assert LookupFreeQuantizer(3, first_is_high=True).decode(torch.tensor([[1]])).tolist() == [[[-1, -1, 1]]]
    assert BinarySphericalQuantizer(4).decode(torch.tensor([[1]])).tolist() == [[[-0.5, -0.5, -0.5, 0.5]]]
    assert FiniteScalarQuantizer((3, 5)).decode(torch.tensor([[1, 3]])).tolist() == [[[0, -1], [-1, -0.5]]]
    assert GroupedBinaryQuantizer(4, 2).decode(torch.tensor([[[1, 2]]])).tolist() == [[[1, -1, -1, 1]]]


@FAST
@given(st.lists(st.integers(3, 9), min_size=1, max_size=4), st.sampled_from(FSQ))
def test_every_fsq_index_decodes_to_a_code_that_encodes_to_it(levels: list[int], kind: type) -> None:
    quantizer = kind(levels)
    indices = torch.arange(math.prod(levels)).unsqueeze(0)
    codes = quantizer.decode(indices)
    assert codes.abs().max() <= 1
    steps = codes * quantizer.half_width
    inside = ((steps + quantizer.offset) / quantizer.reach).clamp(-1 + 1e-6, 1 - 1e-6)
    latents = torch.atanh(inside) - quantizer.shift
    assert torch.equal(quantizer(latents).indices, indices)


@pytest.mark.parametrize("name", ["lfq", "bsq", "gfq", "dimension_wise", "vq", "vq_cosine", "vq_sim", "shared_index"])
@FAST
@given(seed=st.integers(0, 2**31))
def test_a_code_is_its_own_code(name: str, seed: int) -> None:
    quantizer = make(name)
    indices = quantizer(latents_for(quantizer, seed=seed)).indices
    codes = quantizer.decode(indices)
    assert torch.equal(quantizer.decode(quantizer(codes).indices), codes)


@pytest.mark.parametrize("bits", [1, 5, 12])
@pytest.mark.parametrize("kind", [LookupFreeQuantizer, BinarySphericalQuantizer])
def test_every_sign_code_encodes_to_its_index(kind: type, bits: int) -> None:
    quantizer = kind(bits)
    indices = torch.arange(2**bits).unsqueeze(0)
    assert torch.equal(quantizer(quantizer.decode(indices)).indices, indices)


def test_every_row_of_a_codebook_is_nearest_to_itself() -> None:
    for name in ("vq", "vq_cosine", "vq_direction", "vq_sim", "shared_index"):
        quantizer = make(name)
        indices = torch.arange(24).unsqueeze(0)
        assert torch.equal(quantizer(quantizer.decode(indices)).indices, indices), name


# --- gradients ---


def gradient(call, points: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    points = points.clone().requires_grad_()
    (call(points) * weight).sum().backward()
    return points.grad


@FAST
@given(seed=st.integers(0, 2**31), channels=st.integers(1, 6))
def test_the_rotation_has_the_gradient_of_its_matrix(seed: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    latents, codes, weight = (torch.randn(7, channels, generator=generator, dtype=torch.float64) for _ in range(3))
    rotated = rotate(latents, codes)
    assert torch.equal(rotated, codes)
    for number, (latent, code) in enumerate(zip(latents, codes, strict=True)):
        start, end = F.normalize(latent, dim=0), F.normalize(code, dim=0)
        if (start + end).norm() < 1e-3:  # they point apart: straight through
            matrix = torch.eye(channels, dtype=torch.float64)
        else:
            middle = F.normalize(start + end, dim=0)
            matrix = torch.eye(channels).double() - 2 * torch.outer(middle, middle) + 2 * torch.outer(end, start)
            torch.testing.assert_close(matrix @ start, end)
            matrix = matrix * code.norm() / latent.norm()
        mine = gradient(lambda x, c=code: rotate(x, c[None]), latent[None], weight[number][None])
        torch.testing.assert_close(mine[0], matrix.t() @ weight[number])


def test_the_rotation_of_a_latent_of_no_length_passes_straight_through() -> None:
    weight = torch.tensor([[1.0, 2.0]])
    assert torch.equal(gradient(lambda x: rotate(x, torch.ones(1, 2)), torch.zeros(1, 2), weight), weight)
    assert torch.equal(gradient(lambda x: rotate(x, torch.zeros(1, 2)), torch.ones(1, 2), weight), weight)


@pytest.mark.parametrize("name", ["vq", "residual", "multi_scale", "product", "lfq", "streaming_average", "revived"])
def test_straight_through_is_the_identity(name: str) -> None:
    quantizer = make(name)
    latents = latents_for(quantizer)
    weight = torch.randn(3, 16, quantizer.code_dim, generator=torch.Generator().manual_seed(1))
    if name == "product":  # its second part is FSQ, with the slope of its bound
        latents, weight = latents, torch.cat([weight[..., :4], torch.zeros(3, 16, 2)], dim=-1)
    assert torch.equal(gradient(lambda x: quantizer(x).codes, latents, weight)[..., :4], weight[..., :4])
    assert torch.equal(gradient(lambda x: straight_through(x, torch.zeros_like(x)), latents, latents), latents)


@pytest.mark.parametrize("kind", FSQ)
def test_the_gradient_of_fsq_is_that_of_its_bound(kind: type) -> None:
    quantizer = kind((8, 5, 3))
    latents = latents_for(quantizer)
    weight = torch.randn(3, 16, 3, generator=torch.Generator().manual_seed(1))
    wanted = gradient(lambda x: quantizer.bound(x) / quantizer.half_width, latents, weight)
    torch.testing.assert_close(gradient(lambda x: quantizer(x).codes, latents, weight), wanted)


def test_bsq_passes_the_gradient_of_the_unit_vector() -> None:
    quantizer = make("bsq")
    latents, weight = latents_for(quantizer), latents_for(quantizer, seed=1)
    wanted = gradient(lambda x: F.normalize(x, dim=-1), latents, weight)
    torch.testing.assert_close(gradient(lambda x: quantizer(x).codes, latents, weight), wanted)


def test_bernoulli_bits_pass_the_gradient_of_their_chances() -> None:
    quantizer = make("bae")
    latents = latents_for(quantizer)
    weight = torch.randn(3, 16, 5, generator=torch.Generator().manual_seed(1))
    wanted = gradient(lambda x: x.sigmoid() @ quantizer.table, latents, weight)
    torch.testing.assert_close(gradient(lambda x: quantizer(x).codes, latents, weight), wanted)


def test_bernoulli_bits_are_drawn_with_their_chances() -> None:
    quantizer = make("bae")
    latents = torch.tensor([-2.0, 0, 1, 3, -9, 9]).expand(4, 2000, -1)
    indices = quantizer(latents, sample=True, generator=torch.Generator().manual_seed(0)).indices
    means = quantizer.digits.unpack(indices).float().mean((0, 1))
    torch.testing.assert_close(means, latents[0, 0].sigmoid(), atol=0.02, rtol=0)
    again = quantizer(latents, sample=True, generator=torch.Generator().manual_seed(0)).indices
    assert torch.equal(again, indices)


def test_ibq_has_the_gradient_of_its_one_hot_formula() -> None:
    quantizer = IndexBackpropQuantizer(10, 4)
    torch.nn.init.normal_(quantizer.codebook)
    latents, weight = torch.randn(2, 5, 4), torch.randn(2, 5, 4)

    def plain(points: torch.Tensor) -> torch.Tensor:
        logits = points @ quantizer.codebook.t()
        soft, hard = logits.softmax(-1), F.one_hot(logits.argmax(-1), 10)
        return (hard + soft - soft.detach()) @ quantizer.codebook

    wanted = gradient(plain, latents, weight)
    rows, quantizer.codebook.grad = quantizer.codebook.grad, None
    torch.testing.assert_close(gradient(lambda x: quantizer(x).codes, latents, weight), wanted)
    torch.testing.assert_close(quantizer.codebook.grad, rows)


def test_gumbel_has_the_gradient_of_its_one_hot_formula_and_draws_by_chance() -> None:
    quantizer = GumbelQuantizer(6, 4)
    latents, weight = torch.randn(2, 5, 6), torch.randn(2, 5, 4)

    def plain(logits: torch.Tensor) -> torch.Tensor:
        soft, hard = logits.softmax(-1), F.one_hot(logits.argmax(-1), 6)
        return (hard + soft - soft.detach()) @ quantizer.codebook

    wanted = gradient(plain, latents, weight)
    rows, quantizer.codebook.grad = quantizer.codebook.grad, None
    torch.testing.assert_close(gradient(lambda x: quantizer(x).codes, latents, weight), wanted)
    torch.testing.assert_close(quantizer.codebook.grad, rows)
    logits = torch.tensor([0.0, 1, 2, -1, 0, 0]).expand(1, 20000, -1)
    drawn = quantizer(logits, sample=True, generator=torch.Generator().manual_seed(0)).indices
    shares = drawn.bincount(minlength=6) if drawn.ndim == 1 else drawn.flatten().bincount(minlength=6)
    torch.testing.assert_close(shares / 20000, logits[0, 0].softmax(-1), atol=0.02, rtol=0)


# --- soft codes ---


def test_soft_vq_is_its_softmax_formula_in_value_and_gradient() -> None:
    quantizer = SoftVectorQuantizer(7, 3, num_codebooks=2)
    latents, weight = torch.randn(2, 6, 3), torch.randn(2, 6, 3)

    def plain(points: torch.Tensor) -> torch.Tensor:
        rows, unit = F.normalize(quantizer.codebook, dim=-1), F.normalize(points, dim=-1)
        parts = [
            (unit[:, 3 * part : 3 * part + 3] @ rows[part].detach().t() / 0.07).softmax(-1) @ rows[part]
            for part in range(2)
        ]
        return torch.cat(parts, dim=1)

    torch.testing.assert_close(quantizer(latents).codes, plain(latents))
    wanted = gradient(plain, latents, weight)
    rows, quantizer.codebook.grad = quantizer.codebook.grad, None
    torch.testing.assert_close(gradient(lambda x: quantizer(x).codes, latents, weight), wanted)
    torch.testing.assert_close(quantizer.codebook.grad, rows)
    assert (quantizer.codebook.grad.norm(dim=-1) > 0).all()  # every code learns
    with pytest.raises(ValueError, match="5 tokens do not fall into 2"):
        quantizer(latents[:, :5])


def test_a_cold_softmax_is_the_nearest_row() -> None:
    quantizer = SoftVectorQuantizer(7, 3, temperature=1e-4)
    latents = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    nearest = F.normalize(quantizer.codebook[0], dim=-1)[quantizer.nearest(latents)]
    torch.testing.assert_close(quantizer(latents).codes, nearest, atol=1e-3, rtol=1e-3)


def test_soft_codes_of_sharp_logits_are_the_codes_of_the_greatest() -> None:
    quantizer = VectorQuantizer(9, 4)
    logits = torch.randn(2, 5, 9)
    torch.testing.assert_close(soft_codes(quantizer, logits, sharpness=1e4), quantizer.decode(logits.argmax(-1)))
    torch.testing.assert_close(soft_codes(quantizer, logits), logits.softmax(-1) @ quantizer.codebook)
