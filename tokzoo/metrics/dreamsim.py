"""DreamSim (arXiv:2306.09344): how alike two images seem to people, by an ensemble of tuned transformers."""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from tokzoo._torchvision import import_with_torchvision

__all__ = ["DreamSim"]


class DreamSim(nn.Module):
    """The published ensemble, which its package fetches into torch hub's folder when it is first built.

    Images are seen at the size that they have. Made for 224 pixels, it takes others too; whoever wants its own resize
    does it before.

    Shapes:
        images, reference (B, 3, H, W) in [0, 1] -> float32 (B,), 0 for the same image

    Raises:
        ImportError: the package `dreamsim` is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            package = import_with_torchvision("dreamsim")
        except ModuleNotFoundError as error:
            raise ImportError(
                "DreamSim needs its package, which fetches its weights: pip install 'tokzoo[dreamsim]'. Without it, "
                "take dreamsim out of the metrics of a protocol of your own."
            ) from error
        folder = Path(torch.hub.get_dir(), "dreamsim")
        self.network, _ = package.dreamsim(pretrained=True, device="cpu", cache_dir=str(folder))

    @torch.no_grad()
    def forward(self, images: Tensor, reference: Tensor) -> Tensor:
        return cast(Tensor, self.network(images.float(), reference.float())).flatten()
