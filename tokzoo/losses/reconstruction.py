"""How far a reconstruction is from its image, pixel by pixel."""

from torch import Tensor

__all__ = ["psnr"]


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, for a peak of 1; infinite where both are equal.

    Shapes:
        images, reference (B, ...) in [0, 1] -> float32 (B,).
    """
    error = (images.float() - reference.float()).square().flatten(1).mean(1)
    return -10 * error.log10()
