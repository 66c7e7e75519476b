"""What tokenizers of videos have in common. B batch, T frames, H W pixels."""

from collections.abc import Iterable

from torch import Tensor

from tokzoo.tokenizers.base import Photo, VisualTokenizer, check_size
from tokzoo.tokens import Grid3D, TokenSpec


class VideoTokenizer(VisualTokenizer):
    """A volume of tokens. Videos are (B, 3, T, H, W) where `VisualTokenizer` says images.

    The first frame has a plane of tokens of its own; each plane after it stands for `config.frame_downsample` frames.
    Any number of frames 1 + n * `frame_downsample` and any sides that are multiples of `config.downsample` fit; a
    picture is a video of one frame.
    """

    @property
    def num_frames(self) -> int:
        """Frames that it was made for."""
        return int(self.config.num_frames)

    @property
    def multiple_of(self) -> int:
        return int(self.config.downsample)

    @property
    def token_spec(self) -> TokenSpec:
        side = self.config.image_size // self.config.downsample
        planes = 1 + (self.config.num_frames - 1) // self.config.frame_downsample
        return TokenSpec(
            layout=Grid3D(planes, side, side),
            levels=self.quantizer.levels,
            channels=self.quantizer.code_dim,
            lengths=(1, planes * side**2),
        )

    def preprocess(self, source: Photo | Iterable[Photo]) -> Tensor:
        """The frames of one video, each as a photo -> (1, 3, T, S, S); a single photo makes one frame."""
        return super().preprocess(source).transpose(0, 1).unsqueeze(0)

    def _check_axes(self, images: Tensor) -> None:
        if images.ndim != 5 or images.shape[1] != 3:
            raise ValueError(
                f"videos must be (B, 3, T, H, W); got {tuple(images.shape)}. One video needs [None], images "
                "unsqueeze(2), grey 3 channels."
            )

    def _check_sides(self, images: Tensor) -> None:
        frames, height, width = images.shape[2:]
        check_frames(frames, step=self.config.frame_downsample)
        check_size(height, width, image_size=self.image_size, multiple_of=self.multiple_of)


def check_frames(frames: int, *, step: int) -> None:
    """Raises ValueError unless there are 1 + n * step frames, naming the nearest such number."""
    if frames < 1 or (frames - 1) % step:
        near = 1 + max(0, round((frames - 1) / step)) * step
        raise ValueError(f"videos must have 1 + {step} n frames; got {frames}. The nearest fit is {near}.")
