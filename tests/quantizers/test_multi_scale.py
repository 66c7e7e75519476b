"""Pyramids of codes: prefixes, phi, drop of scales; and perturbation of codes."""

import pytest
import torch
import torch.nn.functional as F

from tests.quantizers.shelf import VQ, latents_for, make
from tokzoo import shelf
from tokzoo.quantizers.fsq import FiniteScalarQuantizer
from tokzoo.quantizers.kmeans import KmeansStartQuantizer
from tokzoo.quantizers.multi_scale import MultiScaleQuantizer, ScaleSmoothing, SmoothedMultiScaleQuantizer
from tokzoo.quantizers.perturbation import PerturbedQuantizer, annealed_strength
from tokzoo.quantizers.revival import RevivedQuantizer
from tokzoo.quantizers.sign import BinarySphericalQuantizer
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.quantizers.wrapped import UnitLatents
from tokzoo.tokens import Grid, Pyramid, Sequence


def test_the_plane_is_told_scale_after_scale() -> None:
    quantizer = make("multi_scale")
    latents = latents_for(quantizer)
    rest, plane, total = None, latents.transpose(1, 2).unflatten(-1, (4, 4)), 0
    rest = plane
    indices = quantizer(latents).indices
    for side, own in zip((1, 2, 4), indices.split((1, 4, 16), dim=1), strict=True):
        small = F.interpolate(rest, (side, side), mode="area").flatten(2).transpose(1, 2)
        assert torch.equal(quantizer.inner[0].index(small), own)
        codes = quantizer.inner[0].decode(own).transpose(1, 2).unflatten(-1, (side, side))
        large = F.interpolate(codes, (4, 4), mode="bicubic") if side < 4 else codes
        rest, total = rest - large, total + large
        upto = indices[:, : {1: 1, 2: 5, 4: 21}[side]]
        torch.testing.assert_close(quantizer.decode(upto), total.flatten(2).transpose(1, 2))


def test_only_whole_scales_decode() -> None:
    quantizer = make("multi_scale")
    with pytest.raises(ValueError, match=r"3 tokens are not whole scales; whole ones have \[1, 5, 21\]"):
        quantizer.decode(torch.zeros(1, 3).long())
    with pytest.raises(ValueError, match="not whole layers"):
        make("streaming_average").decode(torch.zeros(1, 3).long())


@pytest.mark.parametrize("name", ["multi_scale", "streaming_average"])
def test_layouts_of_another_size_are_refused(name: str) -> None:
    quantizer = make(name)
    assert quantizer.token_layout(Grid(4, 4)) == Pyramid(((1, 1), (2, 2), (4, 4)))
    assert quantizer.token_layout(Sequence(16)).num_tokens == 21  # a row of 16 is read as a plane
    assert quantizer.code_layout(Pyramid(((1, 1), (2, 2)))) == Grid(4, 4)
    for layout in (Grid(2, 8), Grid(5, 5), Sequence(15)):
        with pytest.raises(ValueError, match="4x4"):
            quantizer.token_layout(layout)


def test_each_scale_brings_the_plane_nearer() -> None:
    quantizer = MultiScaleQuantizer(BinarySphericalQuantizer(8), (1, 2, 4), upsampling="bilinear")
    latents = F.normalize(torch.randn(4, 16, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    steps = list(quantizer.decode_steps(quantizer(latents).indices))
    errors = [(latents - step).square().mean() for step in steps]
    assert errors[0] > errors[-1]


def test_two_scales_midway_between_ticks_have_the_published_convs() -> None:
    assert ScaleSmoothing(2, 10).conv_of_scale == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    plane = torch.randn(1, 2, 3, 3)
    smoothing = ScaleSmoothing(2, 10)
    torch.testing.assert_close(smoothing(plane, 0), 0.5 * plane + 0.5 * smoothing.convs[0](plane))


def test_dropped_scales_are_missing_from_the_codes_of_the_first_samples() -> None:
    quantizer = MultiScaleQuantizer(VectorQuantizer(24, 4), (1, 2, 4), dropout=0.5, keep_at_least=1).train()
    latents = latents_for(quantizer, 8)
    quantized = quantizer(latents, sample=True, generator=torch.Generator().manual_seed(1))
    kept = torch.randint(1, 4, (4,), generator=torch.Generator().manual_seed(1))
    steps = list(quantizer.eval().decode_steps(quantized.indices))
    assert len(set(kept.tolist())) > 1
    for sample in range(8):
        last = int(kept[sample]) if sample < 4 else 3
        torch.testing.assert_close(quantized.codes[sample], steps[last - 1][sample])


def test_phi_learns_from_the_codebook_loss() -> None:
    quantizer = SmoothedMultiScaleQuantizer(VectorQuantizer(24, 4), (1, 2, 4))
    sum(quantizer(latents_for(quantizer)).losses.values()).backward()
    reached = [conv.weight.grad is not None for conv in quantizer.smoothing.convs]
    assert reached == [number in quantizer.smoothing.conv_of_scale for number in range(4)]


def test_the_running_mean_of_layers_nears_the_latents() -> None:
    quantizer = shelf.build_quantizer(
        dict(name="streaming_average", inner=dict(VQ, codebook_size=512), scales=(1, 2, 4))
    )
    torch.nn.init.normal_(quantizer.inner.codebook)
    latents = latents_for(quantizer)
    steps = list(quantizer.decode_steps(quantizer(latents).indices))
    assert (latents - steps[-1]).square().mean() < (latents - steps[0]).square().mean()


# --- perturbation ---


def test_some_tokens_of_some_images_become_a_near_code_and_only_in_training() -> None:
    inner = VectorQuantizer(64, 4)
    torch.nn.init.normal_(inner.codebook)
    quantizer = PerturbedQuantizer(inner, tokens=1.0, images=0.5, neighbours=5)
    latents = latents_for(quantizer, 8)
    plain = inner(latents)
    assert torch.equal(quantizer.eval()(latents).codes, plain.codes)
    made = quantizer.train()(latents, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.indices, plain.indices)
    torch.testing.assert_close(made.losses, plain.losses)
    assert torch.equal(made.codes[4:], plain.codes[4:])
    nearest = torch.cdist(latents, inner.codebook).topk(5, largest=False).indices
    chosen = torch.cdist(made.codes, inner.codebook).argmin(-1)
    assert (nearest == chosen.unsqueeze(-1)).any(-1).all()
    changed = (chosen != plain.indices)[:4].float().mean()
    assert 0.6 < changed <= 1  # four of five neighbours are others


def test_the_gradient_is_that_without_perturbation() -> None:
    quantizer = PerturbedQuantizer(FiniteScalarQuantizer((4, 4)), images=1.0, neighbours=4).train()
    latents = latents_for(quantizer)
    found = []
    for call in (quantizer, quantizer.inner):
        points = latents.clone().requires_grad_()
        call(points).codes.sum().backward()
        found.append(points.grad)
    torch.testing.assert_close(*found)


def test_neighbours_are_those_of_the_latent_as_the_inner_quantizer_compares_it() -> None:
    inner = VectorQuantizer(64, 4, normalize=True)
    latents = 5 * latents_for(inner)
    wanted = PerturbedQuantizer(inner, neighbours=9).nearest(latents, 9)
    for wrapped in (RevivedQuantizer(inner), UnitLatents(inner), KmeansStartQuantizer(RevivedQuantizer(inner).inner)):
        found = PerturbedQuantizer(wrapped, neighbours=9).nearest(latents, 9)
        assert (found == wanted).float().mean() > 0.99  # equal but for ties of rounding


def test_strength_scales_chance_and_neighbours() -> None:
    inner = VectorQuantizer(64, 4)
    torch.nn.init.normal_(inner.codebook)
    quantizer = PerturbedQuantizer(inner, images=1.0, neighbours=10).train()
    latents = latents_for(quantizer)
    quantizer.strength = 0.0
    torch.testing.assert_close(quantizer(latents).codes, inner(latents).codes)
    assert annealed_strength(0) == 1 and annealed_strength(80) == 0.75 and annealed_strength(200) == 0.5
