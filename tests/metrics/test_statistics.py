"""Streamed moments are those of the whole, and the distance between them is that of the published tools."""

import importlib.util

import numpy as np
import pytest
import torch

from tokzoo._torchvision import import_with_torchvision
from tokzoo.metrics.frechet import frechet_at_infinity, frechet_distance, frechet_of_features
from tokzoo.metrics.statistics import GaussianStatistics, Moments, Origin, load_moments, save_moments


def features(count: int, width: int = 24, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator)
    return torch.rand(count, width, generator=generator) @ mix + shift


@pytest.mark.parametrize("cuts", [(200,), (1, 199), (50, 50, 100), (7, 93, 0, 100)])
def test_any_split_into_batches_gives_the_covariance_of_the_whole(cuts):
    rows = features(200, shift=1000.0)
    streamed = GaussianStatistics(24)
    for part in rows.split(cuts):
        streamed.update(part)
    moments = streamed.moments()
    assert moments.count == 200
    np.testing.assert_allclose(moments.mean, rows.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.double().numpy(), rowvar=False), rtol=1e-9)


def test_processes_merge_as_if_one_had_seen_all():
    rows = features(90)
    parts = [GaussianStatistics.of(part) for part in rows.split(40)]
    whole, merged = GaussianStatistics.of(rows), GaussianStatistics.merged(parts)
    assert merged.count == whole.count
    torch.testing.assert_close(merged.moments().covariance, whole.moments().covariance, rtol=1e-12, atol=1e-13)


def test_statistics_go_on_from_a_kept_state_bit_for_bit():
    first, second = features(60).split(30)
    ours = GaussianStatistics.of(first)
    again = GaussianStatistics.from_state(ours.state())
    for statistics in (ours, again):
        statistics.update(second)
    assert torch.equal(ours.scatter, again.scatter)


@pytest.mark.parametrize(("ours", "theirs"), [(200, 150), (200, 12), (10, 14)])
def test_distance_equals_the_matrix_square_root_of_scipy(ours, theirs):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = features(ours, seed=1).double(), features(theirs, seed=2).double()
    means, covariances = [x.mean(0).numpy() for x in (a, b)], [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    root = np.real(linalg.sqrtm(covariances[0] @ covariances[1]))
    want = np.square(means[0] - means[1]).sum() + np.trace(covariances[0]) + np.trace(covariances[1])
    want -= 2 * np.trace(root)
    got = frechet_distance(*(GaussianStatistics.of(x).moments() for x in (a, b)))
    assert got == pytest.approx(want, rel=1e-4)
    assert frechet_of_features(a, b) == pytest.approx(got, rel=1e-7)
    assert frechet_of_features(a, GaussianStatistics.of(b).moments()) == pytest.approx(got, rel=1e-7)


def test_distance_is_symmetric_and_zero_for_equal_features():
    a, b = (GaussianStatistics.of(features(60, seed=seed)).moments() for seed in (1, 2))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    few = features(10)
    assert frechet_of_features(few, few) == pytest.approx(0, abs=1e-5)


def test_features_that_are_mostly_zero_have_a_distance():
    sparse = torch.zeros(18, 300)
    sparse[:, :4] = features(18, 4)
    other = torch.zeros(22, 300)
    other[:, 2:6] = features(22, 4, seed=1)
    moments = [GaussianStatistics.of(rows).moments() for rows in (sparse, other)]
    assert frechet_distance(*moments) == pytest.approx(frechet_of_features(sparse, other), rel=1e-6)
    constant = GaussianStatistics.of(torch.ones(9, 300)).moments()
    assert frechet_distance(constant, constant) == 0


def test_extrapolation_comes_nearer_to_the_distance_of_many_samples():
    reference = GaussianStatistics.of(features(20_000, 8, seed=3)).moments()
    mix = torch.Generator().manual_seed(3)
    sample = torch.rand(400, 8, generator=torch.Generator().manual_seed(9)) @ torch.randn(8, 8, generator=mix)
    measured = frechet_distance(GaussianStatistics.of(sample).moments(), reference)
    assert abs(frechet_at_infinity(sample, reference)) < measured  # the truth is 0: both are of one distribution


def test_extrapolation_draws_a_photo_and_its_reconstruction_together():
    width, far = 32, []
    truth = width * (0.1**2 + (1 - (0.8**2 + 0.3**2) ** 0.5) ** 2)  # of the means, and of both standard deviations
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        photos, noise = torch.randn(2, 150, width, generator=generator)
        made = 0.8 * photos + 0.3 * noise + 0.1
        far.append([frechet_of_features(made, photos) - truth, frechet_at_infinity(made, photos) - truth])
    measured, extrapolated = torch.tensor(far).mean(0).tolist()
    assert measured > 4 * abs(extrapolated)
    with pytest.raises(ValueError, match="drawn by pairs; got 150 and 149: give statistics"):
        frechet_at_infinity(made, photos[:-1])


# --- files -----------------------------------------------------------------------------------------------------------

ORIGIN = Origin(extractor="inception", weights_sha256="abc", image_size=256, images="val")


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_saved_statistics_come_back(tmp_path, suffix):
    moments = GaussianStatistics.of(features(60)).moments(ORIGIN)
    back = load_moments(save_moments(moments, tmp_path / f"stats{suffix}"))
    torch.testing.assert_close(back.mean, moments.mean, rtol=1e-6, atol=1e-6)
    assert torch.equal(back.covariance, moments.covariance)
    assert (back.count, back.origin) == ((60, ORIGIN) if suffix == ".npz" else (None, Origin()))


def test_an_npz_has_the_keys_that_clean_fid_pytorch_fid_and_adm_read(tmp_path):
    moments = GaussianStatistics.of(features(60)).moments()
    spatial = GaussianStatistics.of(features(60, width=5)).moments()
    file = save_moments(moments, tmp_path / "stats.npz", spatial=spatial)
    with np.load(file) as opened:
        assert {"mu", "sigma", "mu_s", "sigma_s"} <= set(opened.files)
        assert opened["sigma"].dtype == np.float64
    assert torch.equal(load_moments(file, spatial=True).mean, spatial.mean)


def test_torch_fidelity_computes_with_our_statistics(tmp_path):
    if not importlib.util.find_spec("torch_fidelity"):
        pytest.skip("torch-fidelity is not installed")
    fid = import_with_torchvision("torch_fidelity.metric_fid")
    ours, theirs = features(80, seed=1), features(70, seed=2)
    file = save_moments(GaussianStatistics.of(ours).moments(), tmp_path / "stats.pt")
    read = torch.load(file, weights_only=False)  # as torch-fidelity does
    got = fid.fid_statistics_to_metric(read, fid.fid_features_to_statistics(theirs), False)
    want = frechet_of_features(ours, theirs)
    assert got["frechet_inception_distance"] == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Origin(extractor="dinov2"), "extractor 'inception' and 'dinov2'"),
        (Origin(image_size=64), "image_size 256 and 64"),
    ],
)
def test_statistics_of_another_extractor_or_size_are_refused(tmp_path, other, named):
    moments = GaussianStatistics.of(features(60)).moments(ORIGIN)
    file = save_moments(moments, tmp_path / "stats.npz")
    with pytest.raises(ValueError, match=named):
        load_moments(file, expect=other)
    with pytest.raises(ValueError, match=named):
        frechet_distance(moments, GaussianStatistics.of(features(60)).moments(other))


def test_what_is_no_number_is_named():
    bad = features(5)
    bad[3, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 5 features hold NaN or infinity, the first in row 3"):
        GaussianStatistics(24).update(bad)
    with pytest.raises(ValueError, match="at least 2 features; got 1"):
        GaussianStatistics.of(features(1)).moments()
    with pytest.raises(ValueError, match="two extractors"):
        frechet_distance(
            GaussianStatistics.of(features(9)).moments(), GaussianStatistics.of(features(9, width=5)).moments()
        )


def test_a_file_of_images_is_no_file_of_statistics(tmp_path):
    np.savez(tmp_path / "samples.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="arr_0; is it a file of images"):
        load_moments(tmp_path / "samples.npz")


def test_moments_must_fit_each_other():
    with pytest.raises(ValueError, match="moments are a mean"):
        Moments(torch.zeros(3), torch.zeros(2, 2))
