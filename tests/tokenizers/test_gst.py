"""GST: pictures with depth as Gaussians in space."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tokzoo
from eval import gst_mechanism
from tests.helpers import tiny
from tokzoo.archives import encode_photos
from tokzoo.data.rgbd import noised, write_scenes
from tokzoo.data.scenes import Rgbd, scenes
from tokzoo.encoders.gaussian_lift import neighbourhood
from tokzoo.layers.camera import lift
from tokzoo.layers.gaussian_rays import ray_depth
from tokzoo.layers.projection import Gaussians3D, covariances
from tokzoo.losses.depth import scale_invariant_log, spread_likelihood
from tokzoo.reconstruction import reconstruct
from tokzoo.tokenizers.gst.config import TINY
from tokzoo.tokenizers.gst.model import Gst
from tokzoo.tokens import Gaussians, Tokens
from tokzoo.training.conditioning import Conditioning
from tokzoo.training.config import DepthConfig, LossConfig, OptimizerConfig, TrainConfig
from tokzoo.training.depth_rendering import DepthRendering
from tokzoo.training.loop import train


def some_pictures(count: int = 2, size: int = 16) -> Rgbd:
    return scenes(list(range(count)), seed=0, image_size=size).render()


def encoded(tok: Gst, pictures: Rgbd) -> Tokens:
    return tok.encode(pictures.images, depth=pictures.depth, intrinsics=pictures.intrinsics)


def one_gaussian(tok: Gst, mean: tuple[float, float, float], axes: tuple[float, float, float], turn: Tensor) -> Tokens:
    """The same Gaussian as every token of one sample."""
    covariance = covariances(torch.tensor(axes).log(), turn)
    count = tok.config.num_tokens
    means, spread = torch.tensor(mean).expand(1, count, 3), covariance.expand(1, count, 3, 3)
    geometry = Gaussians3D(means, spread, torch.ones(1, count))
    latents = torch.zeros(1, count, tok.config.width)
    return Tokens(layout=Gaussians(count), latents=latents, geometry=geometry.pack(), extent=(16, 16))


@torch.no_grad()
def test_every_patch_becomes_a_gaussian_around_the_mean_of_its_points() -> None:
    tok, pictures = tiny("gst"), some_pictures()
    tok.encoder.head.shape[-1].weight.zero_()  # nothing is learned yet: no offset
    raw = tok.gaussians(pictures.images, depth=pictures.depth, intrinsics=pictures.intrinsics)
    points = lift(pictures.depth, pictures.intrinsics)
    means = Gaussians3D.unpack(raw.geometry).mean
    torch.testing.assert_close(means[1, 6], points[1, :, 4:8, 8:12].mean((1, 2)))  # second row, third column
    further = tok.gaussians(pictures.images, depth=pictures.depth * 2, intrinsics=pictures.intrinsics)
    torch.testing.assert_close(further.geometry[..., :3], means * 2)
    longer = torch.diag(torch.tensor([2.0, 2.0, 1.0])) @ pictures.intrinsics
    longer[:, :2, 2] = pictures.intrinsics[:, :2, 2]
    narrower = tok.gaussians(pictures.images, depth=pictures.depth, intrinsics=longer).geometry[..., :3]
    torch.testing.assert_close(narrower, means * torch.tensor([0.5, 0.5, 1.0]))


@torch.no_grad()
def test_offsets_are_metres_whatever_the_depth() -> None:
    tok, pictures = tiny("gst"), some_pictures()
    last = tok.encoder.head.shape[-1]
    last.weight.zero_()
    last.bias[:3] = torch.tensor([0.1, -0.2, 0.3])
    moved = tok.gaussians(pictures.images, depth=pictures.depth, intrinsics=pictures.intrinsics).geometry[..., :3]
    last.bias[:3] = 0.0
    still = tok.gaussians(pictures.images, depth=pictures.depth, intrinsics=pictures.intrinsics).geometry[..., :3]
    torch.testing.assert_close(moved - still, torch.tensor([0.1, -0.2, 0.3]).expand_as(moved), atol=1e-5, rtol=0)


@torch.no_grad()
def test_pooling_knows_no_order_of_the_patches() -> None:
    tok, pictures = tiny("gst"), some_pictures()
    raw = tok.gaussians(pictures.images, depth=pictures.depth, intrinsics=pictures.intrinsics)
    valid = torch.arange(16).expand(2, 16) % 5 != 0
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    latents, weights = tok.encoder.pool(raw.latents, valid)
    mixed, turned = tok.encoder.pool(raw.latents[:, order], valid[:, order])
    torch.testing.assert_close(mixed, latents)
    torch.testing.assert_close(turned, weights[:, :, order])
    assert float(weights[:, :, ::5].abs().max()) == 0.0
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6))


@torch.no_grad()
@pytest.mark.parametrize("nothing", [0.0, -1.0, torch.nan, torch.inf])
def test_depth_that_is_not_known_counts_nowhere(nothing: float) -> None:
    tok, pictures = tiny("gst"), some_pictures()
    holes = pictures.depth.clone()
    holes[:, :6, :5] = nothing  # all of one patch, and parts of three
    tokens = encoded(tok, pictures._replace(depth=holes))
    assert bool(tokens.latents.isfinite().all() and tokens.geometry.isfinite().all())
    zero = holes.clone()
    zero[:, :6, :5] = 0.0
    assert torch.equal(tokens.geometry, encoded(tok, pictures._replace(depth=zero)).geometry)
    raw = tok.gaussians(pictures.images, depth=holes, intrinsics=pictures.intrinsics)
    assert raw.valid[0].tolist() == [False] + [True] * 15
    known = lift(pictures.depth, pictures.intrinsics)[0, :, :4, 4:8][:, :, 1:].mean((1, 2))
    tok.encoder.head.shape[-1].weight.zero_()
    raw = tok.gaussians(pictures.images, depth=holes, intrinsics=pictures.intrinsics)
    torch.testing.assert_close(raw.geometry[0, 1, :3], known)


@torch.no_grad()
def test_other_sizes_and_coarser_depth_fit() -> None:
    tok = tiny("gst")
    pictures = some_pictures(size=32)
    wide = Rgbd(pictures.images[:, :, :24], pictures.depth[:, :24], pictures.intrinsics)
    tokens = encoded(tok, wide)
    assert tokens.num_tokens == 6 and tokens.extent == (24, 32)
    assert tok.decode(tokens, intrinsics=wide.intrinsics).shape == (2, 3, 24, 32)
    assert tok.decode_depth(tokens, intrinsics=wide.intrinsics).shape == (2, 24, 32)
    coarse = wide.depth[:, ::2, ::2]
    spread_out = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(
        encoded(tok, wide._replace(depth=coarse)).geometry, encoded(tok, wide._replace(depth=spread_out)).geometry
    )


@torch.no_grad()
def test_a_gaussian_is_seen_at_its_depth_and_a_flat_one_as_its_plane() -> None:
    tok = tiny("gst")
    camera = torch.tensor([[[16.0, 0.0, 7.5], [0.0, 16.0, 7.5], [0.0, 0.0, 1.0]]])
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0])
    ball = one_gaussian(tok, (0.0, 0.0, 2.0), (0.3, 0.3, 0.3), upright)
    torch.testing.assert_close(
        tok.decode_depth(ball, intrinsics=camera), torch.full((1, 16, 16), 2.0), atol=1e-2, rtol=0
    )
    turn = torch.tensor([0.95, 0.0, 0.3, 0.0])  # about the second axis: one side is nearer
    flat = one_gaussian(tok, (0.0, 0.0, 2.0), (0.3, 0.3, 1e-3), turn)
    seen = tok.decode_depth(flat, intrinsics=camera)[0, 7:9]
    normal = covariances(torch.tensor([1e-9, 1e-9, 1.0]).log(), turn)[2]
    across = (torch.arange(16.0) - 7.5) / 16
    plane = 2.0 * normal[2] / (normal[0] * across + normal[2])
    torch.testing.assert_close(seen[:, 6:10], plane[6:10].expand(2, 4), atol=2e-2, rtol=0)
    assert float(seen[0, 9] - seen[0, 6]) == pytest.approx(float(plane[9] - plane[6]), rel=0.05)


@torch.no_grad()
def test_a_gaussian_moved_aside_is_seen_aside() -> None:
    tok = tiny("gst")
    camera = torch.tensor([[[16.0, 0.0, 7.5], [0.0, 16.0, 7.5], [0.0, 0.0, 1.0]]])
    for x, column in ((0.0, 7.5), (0.5, 11.5)):
        tokens = one_gaussian(tok, (x, 0.0, 2.0), (0.1, 0.1, 0.1), torch.tensor([1.0, 0.0, 0.0, 0.0]))
        cover = tok.decoder.view(tok._placed(tokens), camera).cover[0]
        assert float((cover.sum(0) * torch.arange(16)).sum() / cover.sum()) == pytest.approx(column, abs=0.05)


@torch.no_grad()
def test_where_no_gaussian_reaches_the_mean_of_all_is_seen() -> None:
    tok = tiny("gst")
    tokens = one_gaussian(tok, (-0.8, -0.8, 2.0), (0.02, 0.02, 0.02), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    depth = tok.decode_depth(tokens, intrinsics=torch.tensor([[[16.0, 0, 7.5], [0, 16.0, 7.5], [0, 0, 1.0]]]))
    assert float(depth[0, 15, 15]) == pytest.approx(2.0, abs=1e-3)


@torch.no_grad()
def test_axis_aligned_gaussians_have_no_covariance_between_axes_and_turned_ones_do() -> None:
    pictures = some_pictures()
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    aligned, turned = (
        Gaussians3D.unpack(tiny("gst", rotated=rotated).gaussians(pictures.images, **given).geometry).covariance
        for rotated in (False, True)
    )
    assert float(aligned[..., 0, 1].abs().max()) < 1e-9 < 1e-7 < float(turned[..., 0, 1].abs().max())


@torch.no_grad()
def test_without_offsets_means_are_the_points_of_their_patches_and_with_one_scale_gaussians_are_balls() -> None:
    tok, pictures = tiny("gst", offset=False, isotropic=True, rotated=False), some_pictures()
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    patches = Gaussians3D.unpack(tok.gaussians(pictures.images, **given).geometry)
    anchors = F.avg_pool2d(lift(pictures.depth, pictures.intrinsics), 4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(patches.mean, anchors)
    pooled = Gaussians3D.unpack(encoded(tok, pictures).geometry)
    for covariance in (patches.covariance, pooled.covariance):
        ball = torch.eye(3) * covariance[..., :1, :1]
        torch.testing.assert_close(covariance, ball, atol=1e-7, rtol=1e-5)
    moved = tiny("gst").gaussians(pictures.images, **given).geometry[..., :3]
    assert float((moved - anchors).abs().min(2).values.min()) > 0


@torch.no_grad()
def test_a_code_of_places_in_the_picture_does_not_tell_how_far_things_are_and_one_in_space_does() -> None:
    pictures = some_pictures()
    for code, blind in (("picture", True), ("space", False)):
        tok = tiny("gst", code=code)
        near, far = (
            tok.encode(pictures.images, depth=pictures.depth * factor, intrinsics=pictures.intrinsics).latents
            for factor in (1, 2)
        )
        assert torch.allclose(near, far, atol=1e-5) == blind
    with pytest.raises(ValueError, match="16"):
        tiny("gst", code="picture").encode(torch.zeros(1, 3, 32, 32), depth=torch.ones(1, 32, 32))


@torch.no_grad()
@pytest.mark.parametrize(("name", "patch"), [("gst_nano", 4), ("gst_nano_16", 8)])
def test_queries_begin_spread_over_the_whole_picture(name: str, patch: int) -> None:
    torch.manual_seed(0)
    tok, pictures = tokzoo.create_model(name), some_pictures(size=64)
    raw = tok.gaussians(pictures.images, depth=pictures.depth, intrinsics=pictures.intrinsics)
    _, weights = tok.encoder.pool(raw.latents, raw.valid)
    side = 64 // patch
    read = weights.sum(1).view(2, 1, side, side)  # by all queries
    blocks = F.avg_pool2d(read, side // 4) * (side // 4) ** 2  # of 16 blocks, each a sixteenth of the picture
    fair = tok.config.num_tokens / 16
    assert fair / 4 < float(blocks.min()) and float(blocks.max()) < 2 * fair


def test_opacity_is_told_of_three_scales_of_patches() -> None:
    features = torch.arange(15.0).view(1, 15, 1)  # 3 rows of 5
    two = neighbourhood(features, (3, 5), 2).view(3, 5)
    assert two[0, 0] == two[1, 1] == torch.tensor([0.0, 1, 5, 6]).mean()
    assert two[2, 4] == 14.0 and two[0, 4] == torch.tensor([4.0, 9.0]).mean()
    assert neighbourhood(features, (3, 5), 4).view(3, 5)[2, 4] == torch.tensor([4.0, 9.0, 14.0]).mean()


def test_given_features_take_the_place_of_its_own() -> None:
    tok = tiny("gst", feature_depth=None)
    pictures = some_pictures()
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    features = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    tokens = tok.encode(pictures.images, features=features, **given)
    other = tok.encode(torch.zeros_like(pictures.images), features=features, **given)
    assert torch.equal(tokens.latents, other.latents)  # all that is known of colours is in them
    with pytest.raises(ValueError, match=r"encode needs features=, \(2, 16, 16\)"):
        tok.encode(pictures.images, **given)


@torch.no_grad()
def test_the_released_code_is_a_tokenizer_too_and_leaves_patches_without_depth_alone() -> None:
    sizes = dict(feature_depth=None, rotated=False, unit=1.0, released_heads=2)
    tok, pictures = tiny("gst", **sizes), some_pictures()
    features = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    holes = pictures.depth.clone()
    holes[:, :4, :4] = torch.nan
    given = dict(depth=holes, intrinsics=pictures.intrinsics)
    tokens = tok.encode(pictures.images, features=features, **given)
    features[:, 0] = 7.0  # of the patch without depth
    assert torch.equal(tok.encode(pictures.images, features=features, **given).latents, tokens.latents)
    assert tok.decode(tokens, intrinsics=pictures.intrinsics).shape == (2, 3, 16, 16)
    assert tok.to(torch.bfloat16).encode(pictures.images, features=features, **given).num_tokens == 6
    with pytest.raises(ValueError, match="rotated=False"):
        tiny("gst", **{**sizes, "rotated": True})


def test_the_page_on_pictures_with_depth_holds() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rgbd.md").read_text()
    pictures = some_pictures(1, size=64)
    told = dict(pictures._asdict())
    code = page.partition("```python\n")[2].partition("```")[0]
    exec(code, told)
    assert told["depth"].shape == (1, 64, 64) and told["seen"].shape == (1, 3, 64, 64)
    assert told["towards"].shape == (1, 128, 3)


@pytest.mark.slow
def test_a_short_training_puts_tokens_on_surfaces_as_surfaces_lie(tmp_path: Path) -> None:
    small = ["--steps", "80", "--scenes", "64", "--held-out", "16", "--readout-steps", "60"]
    found = gst_mechanism.main(["--work", str(tmp_path), *small, "--out", str(tmp_path / "found.json")])
    lie = found["geometry"]
    assert lie["distance"]["high"] < 0.05 < lie["distance_to_another_scene"]["low"]
    assert lie["angle"]["high"] < lie["angle_at_random"]["low"] / 2
    assert lie["angle"]["high"] < lie["angle_untrained"]["low"]


def test_bad_requests_are_refused_by_name() -> None:
    tok, pictures = tiny("gst"), some_pictures()
    tokens = encoded(tok, pictures)
    dark = pictures.depth.clone()
    dark[1] = torch.nan
    with pytest.raises(ValueError, match="depth of sample 1 is not known anywhere"):
        encoded(tok, pictures._replace(depth=dark))
    with pytest.raises(ValueError, match="fx and fy above 0"):
        encoded(tok, pictures._replace(intrinsics=pictures.intrinsics * 0))
    with pytest.raises(ValueError, match=r"geometry \(B, 6, 10\)"):
        tok.decode(replace(tokens, geometry=tokens.geometry[..., :5]))
    with pytest.raises(ValueError, match="hold NaN"):
        tok.decode(replace(tokens, geometry=tokens.geometry * torch.nan))
    with pytest.raises(ValueError, match="multiple of the patch, 5"):
        Gst(replace(TINY, patch_size=5))
    with pytest.raises(ValueError, match="unit and start_scale above 0"):
        Gst(replace(TINY, unit=0.0))
    with pytest.raises(ValueError, match="rotated=False with isotropic=True"):
        Gst(replace(TINY, isotropic=True))
    with pytest.raises(ValueError, match="'space' or 'picture'; got 'plane'"):
        Gst(replace(TINY, code="plane"))


def test_commands_that_read_photos_alone_say_what_they_lack_and_what_to_do(tmp_path: Path) -> None:
    tok = tiny("gst")
    write_scenes(tmp_path, 1, seed=0, image_size=16)
    photos = [tmp_path / "colour" / "000000.png"]
    for refused in (lambda: reconstruct(tok, photos), lambda: encode_photos(tok, photos, tmp_path / "photos.tkz")):
        with pytest.raises(ValueError, match=r"needs depth, .* metres .* tok.encode\(images, depth=...\)"):
            refused()
    assert not (tmp_path / "photos.tkz").exists()
    with pytest.raises(ValueError, match="recipe 'gst' learns from a folder of pictures with depth"):
        Conditioning(tok, torch.device("cpu"), caption=None, labels=False)


def test_lengths_stay_exact_in_half_precision() -> None:
    tok, pictures = tiny("gst"), some_pictures()
    tok.encoder.head.shape[-1].weight.data.zero_()
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    means = tok.gaussians(pictures.images, **given).geometry[..., :3]
    assert torch.equal(tok.to(torch.bfloat16).gaussians(pictures.images, **given).geometry[..., :3], means)


def test_the_log_error_forgives_most_of_one_common_factor() -> None:
    depth = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0)) + 1
    valid = torch.ones_like(depth, dtype=torch.bool)
    valid[0, 0] = False
    holes = torch.where(valid, depth, torch.nan)
    loss = scale_invariant_log(depth * 2, holes, valid)
    torch.testing.assert_close(loss, torch.tensor(2.0).log().square() * 0.15)
    assert float(scale_invariant_log(depth * 2, holes, valid, share=1.0)) == pytest.approx(0.0, abs=1e-6)


def test_the_likelihood_is_best_where_the_spread_is_the_error() -> None:
    wanted = torch.full((1, 8, 8), 2.0)
    valid = torch.ones_like(wanted, dtype=torch.bool)
    costs = {
        share: float(spread_likelihood(wanted * 1.1, (wanted * share).square(), wanted, valid, floor=1e-3))
        for share in (0.02, 0.05, 0.1, 0.2, 0.5)
    }
    assert min(costs, key=costs.__getitem__) == 0.1  # Laplace: the best deviation is the mean error


def test_depth_teaches_every_part() -> None:
    tok, pictures = tiny("gst").train(), some_pictures()
    objective = DepthRendering(LossConfig(), DepthConfig())
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    losses = objective(tok, pictures.images, 0, torch.Generator(), **given)
    (losses.terms["depth"] + losses.terms["spread"]).backward()
    encoder = tok.encoder
    for learned in (encoder.pool.queries, encoder.to_token.weight, encoder.head.opacity[-1].weight):
        assert float(learned.grad.abs().sum()) > 0
    assert bool((encoder.head.shape[-1].weight.grad.abs().sum(1) > 0).all())  # offsets, scales and each of the turns
    assert tok.decoder.conv_out.weight.grad is None  # which learns of colours alone


def test_depth_along_rays_teaches_instead_where_it_is_asked_for() -> None:
    tok, pictures = tiny("gst").train(), some_pictures()
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    losses = DepthRendering(LossConfig(), DepthConfig(view="rays"))(tok, pictures.images, 0, torch.Generator(), **given)
    along = ray_depth(Gaussians3D.unpack(losses.output.tokens.geometry), pictures.intrinsics, (16, 16)).depth
    valid = torch.ones_like(along, dtype=torch.bool)
    torch.testing.assert_close(losses.terms["depth"], scale_invariant_log(along, pictures.depth, valid))
    losses.terms["depth"].backward()
    assert float(tok.encoder.pool.queries.grad.abs().sum()) > 0


def test_noise_is_in_the_depth_that_is_given_and_not_in_the_depth_that_is_asked_for() -> None:
    tok, pictures = tiny("gst"), some_pictures()
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    objective = DepthRendering(LossConfig(), DepthConfig(noised=0.5, noise=0.3))
    losses = objective(tok, pictures.images, 0, torch.Generator().manual_seed(1), **given)
    wrong = noised(pictures.depth, share=0.5, deviation=0.3, generator=torch.Generator().manual_seed(1))
    seen = tok(pictures.images, depth=wrong.depth, intrinsics=pictures.intrinsics).aux["depth"]
    valid = torch.ones_like(seen, dtype=torch.bool)
    torch.testing.assert_close(losses.terms["depth"], scale_invariant_log(seen, pictures.depth, valid))


def test_it_learns_one_batch() -> None:
    tok, pictures = tiny("gst").train(), some_pictures(4)
    objective = DepthRendering(LossConfig(), DepthConfig())
    given = dict(depth=pictures.depth, intrinsics=pictures.intrinsics)
    optimizer, totals = torch.optim.Adam(tok.parameters(), lr=5e-3), []
    for step in range(40):
        losses = objective(tok, pictures.images, step, torch.Generator(), **given)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        totals.append({name: float(value.detach()) for name, value in losses.terms.items()})
    assert totals[-1]["depth"] < 0.5 * totals[0]["depth"] and totals[-1]["mse"] < 0.6 * totals[0]["mse"]


def test_it_trains_on_a_folder_of_pictures_with_depth(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 8, seed=0, image_size=16)
    fields = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
    config = TrainConfig(
        data=str(tmp_path / "scenes"),
        out=str(tmp_path / "run"),
        model="gst_nano",
        overrides=fields,
        recipe="gst",
        steps=3,
        batch_size=4,
        optimizer=OptimizerConfig(warmup=1),
        device="cpu",
        precision="float32",
    )
    final = train(config)
    tok = tokzoo.from_pretrained(final)
    assert isinstance(tok, Gst) and tok.config == TINY
    evaluated = [line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if "val_depth" in line]
    assert len(evaluated) == 1
