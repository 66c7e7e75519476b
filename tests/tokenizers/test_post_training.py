"""Continuous tokenizers made discrete after training."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import tokzoo
from tests.helpers import tiny
from tokzoo.golden import read_case
from tokzoo.quantizers.channel_tables import (
    ChannelTableQuantizer,
    allocate_bits,
    lloyd_max_table,
    published_table,
    table_error,
    uniform_table,
)
from tokzoo.quantizers.channel_wise import count_below
from tokzoo.quantizers.dimension_wise import DimensionWiseQuantizer
from tokzoo.tokenizers.post_training.calibration import calibrate
from tokzoo.tokenizers.post_training.model import PostTraining, quantize

CASE = Path(__file__).parents[1] / "golden" / "cases" / "tokenbridge_quantizer.json"


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("levels", [4, 8, 16, 32, 64, 128, 256])
def test_published_tables_give_the_recorded_indices_and_values(levels: int) -> None:
    case = read_case(CASE)
    values = torch.from_numpy(case.inputs["x"])
    quantizer = ChannelTableQuantizer((levels,))
    quantizer.load_tables([published_table(levels, low=-5.0, high=5.0, reach=3.0)])
    found = quantizer(values[..., None])
    assert case.misfit(f"indices_{levels}", found.indices) is None
    torch.testing.assert_close(
        found.codes.squeeze(-1), torch.from_numpy(case.recorded[f"values_{levels}"]), atol=5e-5, rtol=5e-5
    )


@pytest.mark.parametrize("levels", [2, 16, 64, 256])
def test_ties_fall_as_where_all_distances_are_compared(levels: int) -> None:
    """At every border and the numbers beside it, and anywhere else; scaling rounds there, too."""
    quantizer = DimensionWiseQuantizer(1, levels)
    borders = quantizer.borders[quantizer.borders.isfinite()]
    near = [borders]
    for _ in range(3):
        near = [*near, near[-1].nextafter(torch.tensor(9.0)), near[0].nextafter(torch.tensor(-9.0))]
    edges = torch.tensor([0.0, -0.0, 1e-30, -5.0, 5.0, 80.0, -1e30, torch.inf, -torch.inf, torch.nan])
    points = torch.cat([*near, edges, 2 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))])
    clipped = ((points - -5.0) / 10.0 * 6.0 - 3.0).clamp(-3, 3)
    distances = (clipped.unsqueeze(-1) - quantizer.values).abs()
    found = quantizer.index(points.view(1, -1, 1)).flatten()
    chosen = distances.gather(1, found.unsqueeze(1)).squeeze(1)
    rounding = torch.where(points.isfinite(), 5e-7, torch.inf)  # distances are rounded, borders once more
    assert ((chosen - distances.amin(1) <= rounding) | points.isnan()).all()
    assert (found == distances.argmin(1)).float().mean() > 0.98
    middles = (quantizer.values[1:] + quantizer.values[:-1]) / 2
    assert torch.equal(found, torch.searchsorted(middles, clipped.nan_to_num(nan=-3.0)))


def test_levels_that_are_the_same_within_reach_are_refused() -> None:
    with pytest.raises(ValueError, match=r"some of the 64 levels within 1\.0 standard deviations are the same"):
        DimensionWiseQuantizer(4, 64, reach=1.0)


def test_every_index_of_unequal_tables_decodes_to_a_value_that_has_it() -> None:
    quantizer = ChannelTableQuantizer((1, 3, 8))
    indices = torch.stack([torch.arange(8) % count for count in (1, 3, 8)], dim=-1)[None]
    codes = quantizer.decode(indices)
    assert codes.isfinite().all()
    assert torch.equal(quantizer.index(codes), indices)
    assert quantizer.bits_per_token == pytest.approx(3 + torch.tensor(3.0).log2().item())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_latents_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        ChannelTableQuantizer((4, 4))(torch.full((1, 2, 2), bad))


def test_lloyd_max_of_a_normal_is_the_known_one_and_beats_the_others() -> None:
    samples = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    table = lloyd_max_table(samples, 4)
    torch.testing.assert_close(table, torch.tensor([-1.510, -0.4528, 0.4528, 1.510]), atol=0.02, rtol=0.0)
    errors = [
        table_error(samples, other)
        for other in (table, published_table(4, low=-3.0, high=3.0, reach=3.0), uniform_table(4, low=-3.0, high=3.0))
    ]
    assert errors[0] == min(errors)
    assert errors[0] == pytest.approx(0.1175, abs=0.002)  # Max, 1960, table I


def test_values_gather_where_errors_cost_most_and_lower_what_they_cost() -> None:
    samples = torch.rand(20_000, generator=torch.Generator().manual_seed(4))
    costs = torch.where(samples < 0.5, 8.0, 1.0)
    even, gathered = lloyd_max_table(samples, 15), lloyd_max_table(samples, 15, costs)
    assert (even < 0.5).sum() in (7, 8)
    assert (gathered < 0.5).sum() == 10  # as dense as the cube root of the cost: twice
    assert table_error(samples, gathered, costs) < 0.8 * table_error(samples, even, costs)
    assert torch.equal(lloyd_max_table(samples, 15, torch.zeros(20_000)), even)


@torch.no_grad()
def test_costs_are_what_small_errors_of_latents_make_of_the_decoded_photo() -> None:
    tok = tiny("taesd")
    photo = images(1)
    seen = calibrate(tok, photo.repeat(100, 1, 1, 1))  # 200 random sums of the same pixels' slopes
    costs = seen.costs.unflatten(0, (100, -1)).mean(0)  # (L, C)
    tokens = tok.encode(photo)
    plain = tok.decode(tokens, clamp=False)
    for place, channel in ((0, 0), (5, 1), (15, 3)):
        nudged = tokens.latents.clone()
        nudged[0, place, channel] += 1e-2
        error = (tok.decode(replace(tokens, latents=nudged), clamp=False) - plain).square().sum() / 1e-4
        assert costs[place, channel].item() == pytest.approx(error.item(), rel=0.3)


def test_a_calibration_may_be_made_in_inference_mode() -> None:
    tok = tiny("taesd")
    with torch.inference_mode():
        found = calibrate(tok, images())
    assert torch.equal(found.costs, calibrate(tok, images()).costs)


def test_bits_go_to_wide_and_costly_channels() -> None:
    samples = torch.randn(2000, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor([4.0, 1.0, 0.01])
    assert allocate_bits(samples, 6) == (4, 2, 0)
    wide, costly, still = allocate_bits(samples, 6, torch.tensor([1.0, 256.0, 1.0]).expand(2000, 3))
    assert costly > wide and still == 0
    with pytest.raises(ValueError, match="0 to 24 bits"):
        allocate_bits(samples, 25)


@pytest.mark.parametrize(
    "options",
    [
        dict(levels=64),
        dict(levels=10, bins="uniform"),
        dict(levels=16, calibration=images()),
        dict(bits_per_token=9, bins="lloyd_max", calibration=images()),
    ],
    ids=["published", "uniform", "calibrated", "allocated"],
)
@torch.no_grad()
def test_a_quantized_tokenizer_saves_and_loads_as_any_other(options, tmp_path: Path) -> None:
    tok = tiny("taesd")
    made = tokzoo.quantize(tok, **options)
    tokens = made.encode(images())
    assert tokens.indices.shape == (4, 16, 4)
    again = tokzoo.from_pretrained(made.save_pretrained(tmp_path))
    assert isinstance(again, PostTraining)
    assert torch.equal(again.encode(images()).indices, tokens.indices)
    assert torch.equal(again.decode(tokens), made.decode(tokens))
    if "bits_per_token" in options:
        assert tokens.bits().tolist() == [9 * 16] * 4


@torch.no_grad()
def test_more_levels_come_nearer_to_the_continuous_one() -> None:
    tok = tiny("kl16_vae")
    whole = tok.decode(tok.encode(images()), clamp=False)
    errors = [
        (made.decode(made.encode(images()), clamp=False) - whole).square().mean().item()
        for made in (quantize(tok, levels, calibration=images()) for levels in (4, 16, 64))
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_what_cannot_be_fitted_is_refused_with_the_reason(tmp_path: Path) -> None:
    tok = tiny("taesd")
    with pytest.raises(ValueError, match="powers of two"):
        quantize(tok, 10)
    with pytest.raises(ValueError, match="give calibration="):
        quantize(tok, 16, bins="lloyd_max")
    Image.new("RGB", (16, 16)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match="two photos or more, and are better of hundreds; got 1"):
        quantize(tok, 16, calibration=tmp_path)
    with pytest.raises(ValueError, match="do not vary"):
        quantize(_still(tiny("taesd")), 16, calibration=images())
    torch.manual_seed(1)
    other = tokzoo.create_model("taesd", image_size=16, width=8, num_blocks=(1, 1, 2))
    with pytest.raises(ValueError, match="of another tokenizer"):
        quantize(other, 16, calibration=calibrate(tok, images()))
    with pytest.raises(ValueError, match="indices already"):
        quantize(tiny("titok"), 16)
    with pytest.raises(TypeError, match="only a tokenizer is quantized after training; got a Linear"):
        quantize(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="768 NaN values"):
        quantize(tok, 16, calibration=torch.cat([images(), torch.full((1, 3, 16, 16), torch.nan)]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(levels=0, bins="uniform"), "levels must be a whole number, 1 at least; got 0"),
        (dict(levels=2.5), "levels must be a whole number, 1 at least; got 2.5"),
        (dict(levels=48), "powers of two, 2 at least; got 48: take bins='uniform'"),
        (dict(low=5.0, high=-5.0), "low < high and reach > 0; got low=5.0, high=-5.0"),
        (dict(reach=0.0), "reach > 0; got"),
        (dict(bins="normals"), "bins must be one of normal, uniform, lloyd_max; got 'normals'"),
        (dict(bits_per_token=8), "give calibration="),
        (dict(bits_per_token=8, bins="uniform", calibration=images()), "goes with bins='lloyd_max'; got 'uniform'"),
        (dict(bits_per_token=33, calibration=images()), "4 channels hold 0 to 32 bits; got 33"),
        (dict(calibration="nowhere"), "nowhere is no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_options_out_of_range_are_refused(options, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        quantize(tiny("taesd"), **options)


@torch.no_grad()
def test_tokens_of_other_tables_are_refused() -> None:
    tok = tiny("taesd")
    with pytest.raises(ValueError, match="out of range"):
        quantize(tok, 8).decode(quantize(tok, 16).encode(images()))
    with pytest.raises(ValueError, match="got continuous latents"):
        quantize(tok, 8).decode(tok.encode(images()))


@torch.no_grad()
def test_a_quantized_one_is_quantized_anew_as_its_base_would_be(tmp_path: Path) -> None:
    tok = tiny("taesd")
    calibration = calibrate(tok, images())
    fine = tokzoo.from_pretrained(quantize(tok, 64, calibration=calibration).save_pretrained(tmp_path))
    for options in (dict(bins="normal"), dict(bins="uniform"), dict(calibration=calibration)):
        anew, want = quantize(fine, 8, **options), quantize(tok, 8, **{"calibration": calibration} | options)
        assert torch.equal(anew.quantizer.values, want.quantizer.values)
        assert anew.config == want.config


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 63, 200])
def test_borders_below_are_counted_as_searchsorted_does_ties_included(count: int) -> None:
    noise = torch.Generator().manual_seed(count)
    borders = torch.randn(3, count, generator=noise).sort(dim=1).values
    points = torch.randn(2, 50, 3, generator=noise)
    points[0, : min(count, 50), 0] = borders[0, :50]
    found = count_below(points, borders)
    assert found.dtype == torch.int64
    for channel, row in enumerate(borders):
        assert torch.equal(found[..., channel], torch.searchsorted(row, points[..., channel].contiguous()))
    assert torch.equal(count_below(points, borders[1]), torch.searchsorted(borders[1], points))


def _still(tok: tokzoo.VisualTokenizer) -> tokzoo.VisualTokenizer:
    """Its encoder says the same of every picture."""
    for value in tok.encoder.layers[-1].parameters():
        torch.nn.init.zeros_(value)
    return tok
