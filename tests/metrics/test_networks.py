"""The networks of metrics: published state dicts fit whole, extractors are named, SSIM obeys its definition."""

import json
from pathlib import Path

import pytest
import torch

from tokzoo.metrics import i3d, inception, ssim
from tokzoo.metrics.extractors import EXTRACTORS, build_extractor
from tokzoo.metrics.resize import tf1_bilinear

MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests" / "metrics"


@pytest.mark.parametrize(
    ("manifest", "module", "network"),
    [("inception_tf", inception, inception.FidInception), ("i3d_kinetics400", i3d, i3d.FvdI3d)],
)
def test_every_published_key_is_read(manifest, module, network):
    about = json.loads((MANIFESTS / f"{manifest}.json").read_text())
    with torch.device("meta"):
        ours = network().state_dict()
        published = {key: torch.empty(shape) for key, (shape, _) in about["state_dict"].items()}
        converted = module.convert(published)
    assert {key: value.shape for key, value in converted.items()} == {key: value.shape for key, value in ours.items()}
    with pytest.raises(KeyError, match=r"no rule reads the \w+ key 'extra"):
        module.convert({"extra.weight": torch.empty(3)})


def test_a_folded_norm_does_what_the_norm_did():
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 5, 3, bias=False), torch.nn.BatchNorm2d(5, eps=0.1).eval()
    for value in norm.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    state = {f"a.{key}": value for key, value in conv.state_dict().items()}
    state |= {f"b.{key}": value for key, value in norm.state_dict().items()}
    folded = inception.fold_norm(state, "a", "b", "c", 0.1)
    images = torch.rand(2, 3, 8, 8)
    ours = torch.nn.functional.conv2d(images, folded["c.weight"], folded["c.bias"])
    torch.testing.assert_close(ours, norm(conv(images)))


def test_the_offline_extractor_gives_features_maps_and_the_hash_of_its_file():
    extractor = build_extractor("effnet_lite0", side=64)
    got = extractor(torch.rand(2, 3, 40, 40))
    assert got.features.shape == (2, 1280)
    assert [maps.shape[1] for maps in got.maps] == [16, 24, 40, 112, 320]
    assert extractor.weights_sha256.startswith("57934424")  # as the published file is called
    assert (extractor.name, extractor.width) == ("effnet_lite0", 1280)


def test_an_unknown_extractor_names_the_known_ones():
    with pytest.raises(KeyError, match="inception, dinov2, effnet_lite0"):
        build_extractor("vgg")
    assert set(EXTRACTORS) == {"inception", "dinov2", "effnet_lite0"}


def test_inception_weights_that_cannot_be_had_say_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(FileNotFoundError, match=r"weights-inception-2015-12-05-6726825d\.pth .*no network.*--weights"):
        build_extractor("inception")


def test_a_resize_to_the_same_size_changes_nothing():
    images = torch.rand(1, 3, 9, 11)
    torch.testing.assert_close(tf1_bilinear(images, (9, 11)), images)


def test_equal_images_have_an_ssim_of_one_and_the_window_must_fit():
    images = torch.rand(2, 3, 24, 24)
    assert ssim.ssim(images, images).tolist() == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="11 pixels does not fit"):
        ssim.ssim(images[..., :8], images[..., :8])


def test_ssim_of_a_batch_is_that_of_its_rows():
    images, others = torch.rand(3, 3, 20, 20), torch.rand(3, 3, 20, 20)
    rows = torch.cat([ssim.ssim(images[i : i + 1], others[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(ssim.ssim(images, others), rows)


def test_ms_ssim_is_one_for_equal_images_and_refuses_small_ones():
    images = torch.rand(1, 3, 176, 176)
    assert float(ssim.ms_ssim(images, images)) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="sides of 161 pixels; got"):
        ssim.ms_ssim(images[..., :64], images[..., :64])


def test_a_short_video_is_refused():
    with torch.device("meta"), pytest.raises(ValueError, match="10 frames or more"):
        i3d.FvdI3d()(torch.rand(1, 3, 9, 32, 32))
