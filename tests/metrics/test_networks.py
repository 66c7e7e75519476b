"""The networks of metrics: published state dicts fit whole, extractors are named, SSIM obeys its definition."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tokzoo._torchvision import import_with_torchvision
from tokzoo.metrics import extractors, i3d, inception, ssim
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


# --- DINOv2 ----------------------------------------------------------------------------------------------------------


def test_dinov2_is_timms_large_model_at_224_pixels_with_a_class_token_of_1024():
    timm = import_with_torchvision("timm")
    with torch.device("meta"):
        network = timm.create_model(extractors.DINOV2, img_size=224, num_classes=0)
        tokens = network.forward_features(torch.rand(2, 3, 224, 224))
    assert tokens.shape == (2, 1 + 16 * 16, EXTRACTORS["dinov2"].width)  # no registers
    assert isinstance(network.norm, torch.nn.LayerNorm)


@pytest.fixture
def small_dino(tmp_path, monkeypatch):
    """A tiny transformer of timm in DINOv2's place, its random weights in a file."""
    timm = import_with_torchvision("timm")
    monkeypatch.setattr(extractors, "DINOV2", "test_vit")
    torch.manual_seed(0)
    network = timm.create_model("test_vit", img_size=224, num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    return network, tmp_path / "model.safetensors"


@torch.no_grad()
def test_dinov2_sees_images_as_its_authors_evaluation_and_gives_the_class_token_behind_the_norm(small_dino):
    network, file = small_dino
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    extractor = build_extractor("dinov2", weights=file)
    images = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    got = extractor(images)
    shrunk = [channel.convert("F").resize((224, 224), Image.Resampling.BICUBIC) for channel in picture.split()]
    seen = torch.from_numpy(np.stack([np.array(channel) for channel in shrunk])).clamp(0, 255) / 255
    constants = import_with_torchvision("timm.data.constants")
    imagenet = (constants.IMAGENET_DEFAULT_MEAN, constants.IMAGENET_DEFAULT_STD)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in imagenet)
    tokens = network.forward_features(((seen - mean) / std)[None])
    torch.testing.assert_close(got.features, tokens[:, 0], atol=1e-4, rtol=1e-4)
    assert extractor.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert extractor.name == "dinov2" and got.logits is None


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
