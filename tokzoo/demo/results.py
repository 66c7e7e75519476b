"""Photos through tokenizers and back, as the page takes them."""

from dataclasses import dataclass
from statistics import fmean

from PIL import Image

from tokzoo.metrics.rate_distortion import RatePoint

__all__ = ["DemoResult", "PhotoResult", "Prefix"]


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """A photo rebuilt from its first tokens alone, RGB; `psnr` in dB."""

    num_tokens: int
    image: Image.Image
    psnr: float


@dataclass(frozen=True, kw_only=True)
class PhotoResult:
    """One photo through one tokenizer.

    Args:
        name: what the photo is called on the page.
        original: as the tokenizer saw it, RGB.
        reconstruction: of the same size, RGB.
        indices: the tokens as a list or a grid, None where they are continuous.
        levels: how many values an index can take; given where `indices` are.
        psnr: of the reconstruction in dB.
        prefixes: what its first 1, 2, 4, ... tokens give, where the tokenizer is ordered.
    """

    name: str
    original: Image.Image
    reconstruction: Image.Image
    indices: list[int] | list[list[int]] | None
    levels: int | None
    psnr: float
    prefixes: tuple[Prefix, ...] = ()

    def __post_init__(self) -> None:
        if (self.indices is None) != (self.levels is None):
            raise ValueError(f"indices and levels of {self.name!r} must be given together, or both be None")


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Some photos through one tokenizer.

    Args:
        tokenizer: its full name, as in the registry.
        summary: a sentence or two about it.
        bits_per_image: exact size of an image's tokens; None where they are continuous.
        num_tokens: tokens per image.
        seconds: wall time to encode and decode all photos.
        photos: at least one.
    """

    tokenizer: str
    summary: str
    bits_per_image: float | None
    num_tokens: int
    seconds: float
    photos: list[PhotoResult]

    def __post_init__(self) -> None:
        if not self.photos:
            raise ValueError(f"the result of {self.tokenizer!r} holds no photo")
        if self.bits_per_image is not None and self.bits_per_image <= 0:
            raise ValueError(f"bits_per_image must be positive, or None where unknown; got {self.bits_per_image}")

    @property
    def mean_psnr(self) -> float:
        return fmean(photo.psnr for photo in self.photos)

    @property
    def codes_per_token(self) -> int:
        """More than one where a token's channels, groups or depths have codes of their own; 0 where it has none."""
        indices = self.photos[0].indices
        if indices is None:
            return 0
        return sum(len(row) if isinstance(row, list) else 1 for row in indices) // self.num_tokens

    @property
    def rate_points(self) -> list[RatePoint]:
        """Payload bytes against PSNR: per prefix where there are some, else one point; none where continuous."""
        if self.bits_per_image is None:
            return []
        bytes_per_token = self.bits_per_image / self.num_tokens / 8
        by_length = zip(*(photo.prefixes for photo in self.photos), strict=True)
        closeness = {lengths[0].num_tokens: fmean(prefix.psnr for prefix in lengths) for lengths in by_length}
        return [
            RatePoint(
                setting=count, file_bytes=count * bytes_per_token, archive_bytes=count * bytes_per_token, psnr=psnr
            )
            for count, psnr in (closeness or {self.num_tokens: self.mean_psnr}).items()
        ]
