"""Between pixels and patches. B batch, C channels, g grid side, p patch side."""

from torch import Tensor


def to_tokens(feature_map: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C), row-major; (B, C, t, h, w) -> (B, t * h * w, C), frame by frame."""
    return feature_map.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, h * w, C) -> (B, C, h, w), row-major."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def to_volume(tokens: Tensor, frames: int, height: int, width: int) -> Tensor:
    """(B, t * h * w, C) -> (B, C, t, h, w), frame by frame, each row-major."""
    return tokens.transpose(1, 2).unflatten(2, (frames, height, width))


def unpatchify(patches: Tensor, patch_size: int) -> Tensor:
    """(B, p * p * C, h, w) -> (B, C, h * p, w * p); channels vary fastest within a patch, then columns, then rows."""
    batch, values, height, width = patches.shape
    channels = values // patch_size**2
    pixels = patches.view(batch, patch_size, patch_size, channels, height, width)
    return pixels.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels, height * patch_size, width * patch_size)


def patchify(feature_map: Tensor, patch_size: int) -> Tensor:
    """(B, C, h * p, w * p) -> (B, h * w, p * p * C), row-major; the way back of `unpatchify`, flattened."""
    batch, channels, height, width = feature_map.shape
    rows, columns = height // patch_size, width // patch_size
    patches = feature_map.view(batch, channels, rows, patch_size, columns, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
