"""Ours equal vector-quantize-pytorch's on random weights, where the formulas are the same.

Where they are not: its LFQ takes channel 0 as the most significant bit, ours on request (Open-MAGVIT2 has it the other
way); with cosine similarity its `VectorQuantize` commits the latent as it came, ours the unit vector that is compared;
its entropies clamp logarithms at 1e-5.
"""

import pytest
import torch
import torch.nn.functional as F

from tokzoo.quantizers.ema import EmaVectorQuantizer
from tokzoo.quantizers.fsq import FiniteScalarQuantizer, SymmetricFiniteScalarQuantizer
from tokzoo.quantizers.projected import SimVectorQuantizer
from tokzoo.quantizers.residual import ResidualQuantizer
from tokzoo.quantizers.sign import BinarySphericalQuantizer, GroupedBinaryQuantizer, LookupFreeQuantizer
from tokzoo.quantizers.through import rotate
from tokzoo.quantizers.vector import VectorQuantizer

oracle = pytest.importorskip("vector_quantize_pytorch")
BATCH, TOKENS = 3, 20


def draw(channels: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(BATCH, TOKENS, channels, generator=torch.Generator().manual_seed(seed))


def both_gradients(ours, theirs, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    weight = draw(latents.shape[-1], seed=9)
    found = []
    for call in (ours, theirs):
        points = latents.clone().requires_grad_()
        (call(points) * weight).sum().backward()
        found.append(points.grad)
    return found[0], found[1]


@pytest.mark.parametrize("cosine", [False, True])
def test_vector_quantizer(cosine: bool) -> None:
    theirs = oracle.VectorQuantize(5, 32, use_cosine_sim=cosine, ema_update=False, rotation_trick=False)
    ours = VectorQuantizer(32, 5, normalize=cosine)
    rows = theirs._codebook.embed[0]
    ours.codebook.data.copy_(rows)
    latents = draw(5)
    codes, indices, loss = theirs(latents)
    quantized = ours(latents)
    assert torch.equal(quantized.indices, indices)
    torch.testing.assert_close(quantized.codes, codes.detach(), atol=1e-6, rtol=1e-5)
    if not cosine:  # theirs commits the latent as it came, ours the unit vector that is compared
        torch.testing.assert_close(quantized.losses["commitment_loss"], loss.squeeze())
        torch.testing.assert_close(*both_gradients(lambda x: ours(x).codes, lambda x: theirs(x)[0], latents))


def test_rotation() -> None:
    latents, codes = draw(6), draw(6, seed=1)
    rotate_to = pytest.importorskip("vector_quantize_pytorch.vector_quantize_pytorch").rotate_to
    torch.testing.assert_close(rotate(latents, codes), rotate_to(latents, codes), atol=1e-5, rtol=1e-4)
    ours, theirs = both_gradients(lambda x: rotate(x, codes), lambda x: rotate_to(x, codes), latents)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_moving_averages_over_three_steps() -> None:
    theirs = oracle.VectorQuantize(4, 10, decay=0.9, rotation_trick=False).train()
    ours = EmaVectorQuantizer(10, 4, decay=0.9).train()
    codebook = theirs._codebook
    ours.codebook.copy_(codebook.embed[0])
    ours.average_counts.copy_(codebook.cluster_size[0])
    ours.average_sums.copy_(codebook.embed_avg[0])
    for step in range(3):
        latents = draw(4, seed=step)
        assert torch.equal(ours(latents).indices, theirs(latents)[1])
        torch.testing.assert_close(ours.average_counts, codebook.cluster_size[0])
        torch.testing.assert_close(ours.average_sums, codebook.embed_avg[0])
        torch.testing.assert_close(ours.codebook, codebook.embed[0], atol=1e-5, rtol=1e-4)


def test_sim_vq() -> None:
    theirs = oracle.SimVQ(dim=6, codebook_size=24, rotation_trick=True)
    ours = SimVectorQuantizer(24, 6, through=rotate)
    ours.codebook.copy_(theirs.frozen_codebook)
    ours.projection.load_state_dict(theirs.code_transform.state_dict())
    latents = draw(6)
    codes, indices, loss = theirs(latents)
    quantized = ours(latents)
    assert torch.equal(quantized.indices, indices)
    torch.testing.assert_close(quantized.codes, codes, atol=1e-5, rtol=1e-4)
    weight = theirs.input_to_quantize_commit_loss_weight
    mine = quantized.losses["codebook_loss"] + weight * quantized.losses["commitment_loss"]
    torch.testing.assert_close(mine * theirs.commitment_weight, loss)
    loss.backward()
    (mine * theirs.commitment_weight).backward()
    torch.testing.assert_close(ours.projection.weight.grad, theirs.code_transform.weight.grad)


@pytest.mark.parametrize(
    ("kind", "symmetric", "levels"),
    [(FiniteScalarQuantizer, False, (8, 5, 5, 3)), (SymmetricFiniteScalarQuantizer, True, (2, 8, 5, 4))],
)
def test_fsq(kind: type, symmetric: bool, levels: tuple[int, ...]) -> None:
    theirs, ours = oracle.FSQ(list(levels), preserve_symmetry=symmetric), kind(levels)
    latents = 2 * draw(4)
    codes, indices = theirs(latents)
    quantized = ours(latents)
    assert torch.equal(quantized.indices, indices.long())
    torch.testing.assert_close(quantized.codes, codes)
    torch.testing.assert_close(ours.decode(quantized.indices), theirs.indices_to_codes(indices))
    torch.testing.assert_close(*both_gradients(lambda x: ours(x).codes, lambda x: theirs(x)[0], latents))


@pytest.mark.parametrize("spherical", [False, True])
def test_sign_codes_and_their_entropy(spherical: bool) -> None:
    theirs = oracle.LFQ(
        dim=6, codebook_size=64, spherical=spherical, entropy_loss_weight=1.0, commitment_loss_weight=1.0
    ).train()
    if spherical:
        ours = BinarySphericalQuantizer(6, entropy_group=6, inverse_temperature=100.0)
    else:
        ours = LookupFreeQuantizer(6, first_is_high=True)
    latents = 0.03 * draw(6)
    made, breakdown = theirs(latents, inv_temperature=100.0, return_loss_breakdown=True)
    quantized, entropy = ours(latents), ours.entropy(latents)
    assert torch.equal(quantized.indices, made.indices.long())
    torch.testing.assert_close(quantized.codes, made.quantized.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(quantized.losses["commitment_loss"], breakdown.commitment)
    torch.testing.assert_close(entropy.per_token, breakdown.per_sample_entropy, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy.overall, breakdown.batch_entropy, atol=1e-3, rtol=1e-3)  # theirs clamps logs


def test_grouped_sign_codes() -> None:
    theirs = oracle.LFQ(dim=6, codebook_size=8, num_codebooks=2).train()
    ours = GroupedBinaryQuantizer(6, 2, first_is_high=True)
    latents = 0.03 * draw(6)
    made, breakdown = theirs(latents, return_loss_breakdown=True)
    assert torch.equal(ours(latents).indices, made.indices.long())
    torch.testing.assert_close(ours.entropy(latents).per_token, breakdown.per_sample_entropy, atol=1e-4, rtol=1e-4)


def test_residual() -> None:
    theirs = oracle.ResidualVQ(dim=4, num_quantizers=3, codebook_size=12, ema_update=False, rotation_trick=False).eval()
    stages = []
    for layer in theirs.layers:
        stage = VectorQuantizer(12, 4)
        stage.codebook.data.copy_(layer._codebook.embed[0])
        stages.append(stage)
    ours = ResidualQuantizer(stages)
    latents = draw(4)
    codes, indices, _ = theirs(latents)
    quantized = ours(latents)
    assert torch.equal(quantized.indices, indices)
    torch.testing.assert_close(quantized.codes, codes, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.decode(indices), theirs.get_output_from_indices(indices))


def test_normalised_rows_are_returned_at_unit_length() -> None:
    quantized = VectorQuantizer(8, 4, normalize=True)(draw(4))
    torch.testing.assert_close(quantized.codes.norm(dim=-1), torch.ones(BATCH, TOKENS))
    assert F.normalize(quantized.codes, dim=-1).allclose(quantized.codes)
