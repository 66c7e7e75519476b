"""What every quantizer of the shelf keeps, and how it meets bad input."""

import math

import pytest
import torch

from tests.quantizers.shelf import ALL, CONTINUOUS, DISCRETE, TOKENS, VQ, latents_for, make
from tokzoo import shelf
from tokzoo.quantizers.sign import LookupFreeQuantizer
from tokzoo.quantizers.usage import code_usage
from tokzoo.tokens import Grid

REFUSED = [
    (dict(name="fsq", levels=(8, 1)), "at least 3; got \\(8, 1\\)"),
    (dict(name="fsq", levels=(8, 2)), "SymmetricFiniteScalarQuantizer takes 2"),
    (dict(name="fsq", levels=()), "at least 3"),
    (dict(name="fsq_symmetric", levels=(3, 1)), "at least 2"),
    (dict(name="fsq", levels=(8, 8), slots=(1, 2)), "add up to 2"),
    (dict(VQ, codebook_size=0), "got 0 x 4"),
    (dict(name="gfq", code_dim=10, num_groups=4), "these counts fit: \\[1, 2, 5, 10\\]"),
    (dict(name="lfq", code_dim=0), "a channel at least"),
    (dict(name="lfq", code_dim=70, slot_bits=(70,)), "holds up to 63 bits"),
    (dict(name="bsq", code_dim=9, entropy_group=2), "must divide the 9"),
    (dict(name="bae", num_bits=0, code_dim=3), "a bit at least"),
    (dict(name="dimension_wise", code_dim=2, num_levels=1), "2 levels at least"),
    (dict(name="product", quantizers=()), "one quantizer at least"),
    (dict(name="residual", quantizers=VQ, depth=0), "at least 1"),
    (dict(name="residual", quantizers=[VQ, dict(VQ, code_dim=5)]), "take and give 4 channels; got 5"),
    (dict(name="residual", quantizers=dict(name="gfq", code_dim=4, num_groups=2), depth=2), "of one slot"),
    (dict(name="multi_scale", quantizer=VQ, scales=()), "give scales"),
    (dict(name="streaming_average", inner=VQ, scales=(3, 4)), "divide the last"),
    (dict(name="shared_index", codebook_size=4, code_dims=(2, 2), weights=(1.0,)), "one weight"),
    (dict(name="vq_ema", codebook_size=4, code_dim=2, decay=1.0), "\\[0, 1\\)"),
    (dict(name="soft_vq", codebook_size=4, code_dim=2, temperature=0.0), "above 0"),
    (dict(name="perturbed", inner=VQ, neighbours=25), "1 to 24"),
    (dict(name="revived", inner=VQ, every=0), "at least 1 step"),
]
MISPLACED = [
    (dict(name="perturbed", inner=dict(name="kl", code_dim=4)), "has no indices"),
    (dict(name="perturbed", inner=dict(name="gfq", code_dim=4, num_groups=2)), "2 slots"),
    (dict(name="perturbed", inner=dict(name="lfq", code_dim=20)), "too many to list"),
    (dict(name="perturbed", inner=ALL["multi_scale"], neighbours=4), "makes a pyramid"),
    (dict(name="kmeans_start", inner=dict(name="fsq", levels=(4, 4))), "rows of its own"),
    (dict(name="revived", inner=dict(VQ, name="vq_sim")), "rows of its own"),
    (dict(name="product", quantizers=[dict(name="kl", code_dim=4)]), "has no indices"),
]


@pytest.mark.parametrize("name", DISCRETE)
class TestEveryDiscreteOne:
    @torch.no_grad()
    def test_indices_decode_to_the_codes_and_are_what_index_says(self, name: str) -> None:
        quantizer = make(name)
        latents = latents_for(quantizer)
        quantized = quantizer(latents, Grid(4, 4))
        assert quantized.indices.dtype == torch.int64
        assert torch.equal(quantizer.decode(quantized.indices), quantized.codes)
        assert torch.equal(quantizer.index(latents), quantized.indices)
        assert quantized.codes.shape == (3, TOKENS, quantizer.code_dim)
        layout = quantizer.token_layout(Grid(4, 4))
        assert quantized.indices.shape[:2] == (3, layout.num_tokens)
        assert quantizer.code_layout(layout) == Grid(4, 4)

    def test_bits_are_those_of_its_levels(self, name: str) -> None:
        quantizer = make(name)
        indices = quantizer(latents_for(quantizer)).indices
        slots = indices.reshape(-1, len(quantizer.levels))
        assert ((slots >= 0) & (slots < torch.tensor(quantizer.levels))).all()
        assert quantizer.bits_per_token == sum(math.log2(level) for level in quantizer.levels)
        assert len(code_usage(indices, quantizer.levels)) == len(quantizer.levels)

    def test_an_index_out_of_range_is_named_with_its_slot(self, name: str) -> None:
        quantizer = make(name)
        good = quantizer(latents_for(quantizer)).indices
        for slot, level in enumerate(quantizer.levels):
            for wrong in (-1, level):
                bad = good.clone().reshape(*good.shape[:2], -1)
                bad[1, 2, slot] = wrong
                with pytest.raises(ValueError, match=f"{wrong} in slot {slot} among them"):
                    quantizer.decode(bad.reshape(good.shape))

    def test_asking_for_indices_in_training_changes_nothing(self, name: str) -> None:
        quantizer = make(name).train()
        before = {key: value.clone() for key, value in quantizer.state_dict().items()}
        quantizer.index(latents_for(quantizer))
        torch.testing.assert_close(dict(quantizer.state_dict()), before, atol=0, rtol=0)

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    def test_latents_that_are_no_numbers_get_indices_in_range(self, name: str, value: float) -> None:
        quantizer = make(name)
        latents = latents_for(quantizer)
        latents[1] = value
        indices = quantizer(latents).indices
        slots = indices.reshape(-1, len(quantizer.levels))
        assert ((slots >= 0) & (slots < torch.tensor(quantizer.levels))).all()
        if name not in ("multi_scale", "multi_scale_phi"):  # a plane's interpolation stays within its sample, too
            assert torch.equal(indices[0], quantizer(latents[:1]).indices[0])
        quantizer.decode(indices)


@pytest.mark.parametrize("name", ALL)
class TestEveryOne:
    def test_an_empty_batch_comes_back_empty_with_losses_of_zero(self, name: str) -> None:
        quantizer = make(name).train()
        quantized = quantizer(latents_for(quantizer)[:0])
        assert quantized.codes.shape == (0, TOKENS, quantizer.code_dim)
        if name != "kl":
            assert all(loss == 0 for loss in quantized.losses.values())

    def test_half_precision_of_large_norm_is_computed_in_float32(self, name: str) -> None:
        quantizer = make(name)
        latents = (latents_for(quantizer) * 10000).half()
        quantized, full = quantizer(latents), quantizer(latents.float())
        assert quantized.codes.dtype == torch.float32
        assert torch.equal(quantized.codes, full.codes)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(quantizer(latents.float()).codes, full.codes)

    def test_cast_to_bfloat16_it_still_computes_in_float32(self, name: str) -> None:
        quantizer, cast = make(name), make(name).bfloat16()
        latents = latents_for(quantizer)
        made = cast(latents)
        assert made.codes.dtype == torch.float32 and made.codes.isfinite().all()
        if not list(quantizer.parameters()) and name != "vq_frozen":  # no weights were rounded: all numbers stay
            assert torch.equal(made.codes, quantizer(latents).codes)
            assert made.indices is None or torch.equal(made.indices, quantizer(latents).indices)

    def test_a_width_that_it_does_not_take_is_named(self, name: str) -> None:
        quantizer = make(name)
        wide = torch.zeros(2, TOKENS, quantizer.latent_dim + 1)
        with pytest.raises(ValueError, match=f"{quantizer.latent_dim}.*{quantizer.latent_dim + 1}"):
            quantizer(wide)

    def test_saved_state_gives_the_same_again(self, name: str) -> None:
        quantizer, other = make(name), shelf.build_quantizer(ALL[name]).eval()
        other.load_state_dict(quantizer.state_dict())
        latents = latents_for(quantizer)
        assert torch.equal(other(latents).codes, quantizer(latents).codes)

    def test_a_sample_alone_is_a_sample_of_the_batch(self, name: str) -> None:
        quantizer = make(name)
        latents = latents_for(quantizer)
        torch.testing.assert_close(quantizer(latents[1:2]).codes, quantizer(latents).codes[1:2])

    @torch.no_grad()
    def test_it_compiles_as_one_graph(self, name: str) -> None:
        quantizer = make(name)
        latents = latents_for(quantizer)
        torch._dynamo.reset()  # a name's graph is no recompilation of another's
        compiled = torch.compile(lambda x: quantizer(x).codes, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(latents), quantizer(latents).codes)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_continuous_one_has_neither_indices_nor_bits(name: str) -> None:
    quantizer = make(name)
    assert quantizer.levels is None and quantizer.bits_per_token is None
    assert quantizer(latents_for(quantizer)).indices is None
    with pytest.raises(TypeError, match="has no indices"):
        quantizer.decode(torch.zeros(1, TOKENS).long())


@pytest.mark.parametrize(("described", "message"), REFUSED)
def test_sizes_that_cannot_be_are_refused_with_what_can(described: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shelf.build_quantizer(described)


@pytest.mark.parametrize(("described", "message"), MISPLACED)
def test_a_wrapper_refuses_what_it_cannot_wrap(described: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        shelf.build_quantizer(described)


def test_an_unknown_name_or_option_is_met_with_those_there_are() -> None:
    with pytest.raises(KeyError, match="did you mean fsq"):
        shelf.build_quantizer(dict(name="fsqq"))
    with pytest.raises(KeyError, match="name="):
        shelf.build_quantizer(dict(levels=(4, 4)))
    with pytest.raises(TypeError, match=r"'vq' with .*code_dim"):
        shelf.build_quantizer(dict(name="vq", codebook_size=4))
    with pytest.raises(KeyError, match="straight_through"):
        shelf.build_quantizer(dict(VQ, through="throughh"))


def test_a_quantizer_is_registered_once_and_by_a_class_that_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "QUANTIZERS", dict(shelf.QUANTIZERS))
    shelf.register_quantizer("mine", LookupFreeQuantizer)
    shelf.register_quantizer("mine", LookupFreeQuantizer)
    assert isinstance(shelf.build_quantizer(dict(name="mine", code_dim=3)), LookupFreeQuantizer)
    with pytest.raises(ValueError, match="already"):
        shelf.register_quantizer("vq", LookupFreeQuantizer)

    class Local(LookupFreeQuantizer):
        pass

    with pytest.raises(ValueError, match="top of a module"):
        shelf.register_quantizer("local", Local)
