"""Networks whose features tell sets of images apart, by name; a score is always named after the network.

B batch, D features, H W pixels.
"""

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tokzoo._files import sha256_of
from tokzoo._torchvision import import_with_torchvision
from tokzoo.losses.perceptual import CHECKPOINT_FILE, CHECKPOINT_PACKAGE, EfficientNetLite0Features
from tokzoo.metrics.inception import SIDE, FidInception, convert, signed
from tokzoo.metrics.resize import RESIZE_RULES, antialiased_bicubic

__all__ = ["EXTRACTORS", "Extracted", "Extractor", "build_extractor"]

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
INCEPTION_HASH = "6726825d"  # the first digits of its sha256, in its name
DINOV2 = "vit_large_patch14_dinov2.lvd142m"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Extracted(NamedTuple):
    """What one pass gives: `features` (B, D), and what else the network can.

    `logits` (B, K): for the Inception score. `spatial` (B, S): for sFID. `maps`: for a perceptual distance.
    """

    features: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None
    maps: list[Tensor] | None = None


class Extractor(nn.Module):
    """A frozen network. Images (B, 3, H, W) in [0, 1] -> `Extracted`, float32.

    Attributes:
        name: by which scores are called: `fd_` and the name.
        width: D.
        resize: how it brings images to the size that it sees.
        weights_sha256: of the weights' file.
    """

    __call__: Callable[..., Extracted]
    name: str
    width: int
    resize: str
    weights_sha256: str


class InceptionExtractor(Extractor):
    """The Inception of FID (2048 features). arXiv:1706.08500.

    Args:
        weights: the file that torch-fidelity or pytorch-fid publishes; None: torch hub's cache, or a download.
        resize: `tf1_bilinear` inside the network (torch-fidelity, ADM), `antialiased_bicubic` (clean-fid) or
            `half_pixel_bilinear` (pytorch-fid).

    Raises:
        FileNotFoundError: the weights are neither there nor to be had.
    """

    name, width = "inception", 2048

    def __init__(self, weights: str | Path | None = None, *, resize: str = "tf1_bilinear"):
        super().__init__()
        file = Path(weights) if weights is not None else _download(INCEPTION_URL, INCEPTION_HASH)
        self.weights_sha256 = sha256_of(file)
        self.resize = resize
        self._resized = RESIZE_RULES[resize]
        self.network = FidInception()
        self.network.load_state_dict(convert(torch.load(file, map_location="cpu", weights_only=True)), strict=True)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Extracted:
        seen = self._resized(images.float(), (SIDE, SIDE))
        # pytorch-fid maps 0 and 255 to -1 and 1, all others as TensorFlow did
        found = self.network.extract(seen * 2 - 1 if self.resize == "half_pixel_bilinear" else signed(seen))
        return Extracted(found.pool, found.logits, found.spatial)


class Dinov2Extractor(Extractor):
    """Class token (1024) of DINOv2 ViT-L/14 at 224 pixels, without registers. FD-DINOv2, arXiv:2306.04675.

    Args:
        weights: file of timm's checkpoint; None: from the hub or its cache.
    """

    name, width, resize = "dinov2", 1024, "antialiased_bicubic"

    def __init__(self, weights: str | Path | None = None):
        super().__init__()
        timm = import_with_torchvision("timm")
        if weights is None:
            from huggingface_hub import hf_hub_download

            weights = hf_hub_download(f"timm/{DINOV2}", "model.safetensors")
        self.weights_sha256 = sha256_of(Path(weights))
        self.network = timm.create_model(DINOV2, img_size=224, num_classes=0, checkpoint_path=str(weights)).eval()
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Extracted:
        seen = antialiased_bicubic(images.float(), (224, 224))
        mean, std = (seen.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return Extracted(self.network.forward_features((seen - mean) / std)[:, 0])


class EffnetLite0Extractor(Extractor):
    """Pooled features (1280) and logits of an EfficientNet-Lite0 that pip brings: offline, and never called FID.

    Args:
        side: pixels that the network sees; it was trained at 224, and is quicker at 128.
    """

    name, width, resize = "effnet_lite0", 1280, "antialiased_bicubic"

    def __init__(self, *, side: int = 224):
        super().__init__()
        self.side = side
        self.network = EfficientNetLite0Features()
        with importlib.resources.as_file(importlib.resources.files(CHECKPOINT_PACKAGE) / CHECKPOINT_FILE) as file:
            self.weights_sha256 = sha256_of(file)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Extracted:
        seen = antialiased_bicubic(images.float(), (self.side, self.side))
        features, maps = self.network.features_and_maps(seen)
        return Extracted(features, logits=self.network.network.classifier(features), maps=maps)


EXTRACTORS: dict[str, type[Extractor]] = {
    kind.name: kind for kind in (InceptionExtractor, Dinov2Extractor, EffnetLite0Extractor)
}


def build_extractor(name: str, *, weights: str | Path | None = None, **settings: str | int) -> Extractor:
    """The extractor of `name`, in evaluation mode.

    Args:
        weights: their file; None: where the extractor finds them.
        settings: `resize` of inception, `side` of effnet_lite0.

    Raises:
        KeyError: an unknown name.
    """
    if name not in EXTRACTORS:
        raise KeyError(f"no extractor is called {name!r}; there are {', '.join(EXTRACTORS)}")
    given = dict(settings) if weights is None else dict(settings, weights=str(weights))
    return EXTRACTORS[name](**given).eval()  # type: ignore[arg-type]


def _download(url: str, digest: str) -> Path:
    """The file of `url` in torch hub's cache; fetched and checked where it is not there."""
    file = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), hash_prefix=digest)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"the weights {file.name} are not in {file.parent}, and could not be fetched ({error}). Put the file "
                f"from {url} there, or name it with --weights; fd_effnet_lite0 needs no download."
            ) from error
    return file
