"""One pass over the images: each is encoded and decoded once, and every metric takes what it needs of that.

Each batch becomes a file of the work folder, written in one step. Whatever was killed goes on behind the last whole
batch; several processes share the batches out; and the numbers are made of the files in their order, so that neither
changes them. B batch, H W pixels.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tokzoo._files import replace_atomically, write_atomically
from tokzoo.data.batches import Prefetcher
from tokzoo.evaluation.crops import CROPS
from tokzoo.evaluation.protocol import Protocol, Rounding
from tokzoo.evaluation.subjects import Reconstruction, Subject
from tokzoo.images import to_image
from tokzoo.losses.perceptual import LpipsLoss, feature_distances
from tokzoo.losses.reconstruction import psnr
from tokzoo.metrics import ssim
from tokzoo.metrics.dreamsim import DreamSim
from tokzoo.metrics.extractors import Extracted, Extractor
from tokzoo.metrics.rate_distortion import encode_as
from tokzoo.metrics.resize import plain_bicubic

__all__ = ["Share", "Work", "data_name", "describe", "digest_of", "pixels_sha256", "rounded", "score_images"]

SSIM_RULES = {
    "classic": ssim.SSIM_CLASSIC,
    "torchmetrics": ssim.SSIM_TORCHMETRICS,
    "uniform": ssim.SSIM_UNIFORM,
}
Arrays = dict[str, npt.NDArray[Any]]


class Photos(Interface):
    """Decoded photos by position, uint8 (H, W, 3)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Share:
    """This process among those that share the work."""

    rank: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None  # until all have come here


class Work:
    """Folder of a run's batches. What belongs to another run is refused, never mixed in.

    Args:
        folder: made where it is not there.
        identity: what the numbers depend on: subject, protocol, images, batch size.

    Raises:
        ValueError: the folder holds another run's batches.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        about, text = folder / "run.json", json.dumps(identity, indent=2, sort_keys=True) + "\n"
        if about.exists():
            held = json.loads(about.read_text())
            if differ := [key for key in identity if held.get(key) != json.loads(text)[key]]:
                raise ValueError(
                    f"{folder} holds the batches of another run, with another {', '.join(differ)}; remove it, or name "
                    "another folder"
                )
        else:
            write_atomically(about, text)

    def file(self, batch: int) -> Path:
        return self.folder / f"batch-{batch:06d}.npz"

    def save(self, batch: int, arrays: Arrays) -> None:
        with replace_atomically(self.file(batch)) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    def save_all(self, arrays: Arrays, batch_size: int) -> None:
        """Arrays over all images of the run, as its batches."""
        count = len(next(iter(arrays.values())))
        for batch, first in enumerate(range(0, count, batch_size)):
            self.save(batch, {key: rows[first : first + batch_size] for key, rows in arrays.items()})

    def load(self, count: int) -> Arrays:
        """All batches as one, in order. ValueError if one is missing."""
        missing = [batch for batch in range(count) if not self.file(batch).exists()]
        if missing:
            raise ValueError(f"{len(missing)} of {count} batches are missing in {self.folder}; run it again to go on")
        parts: list[Arrays] = []
        for batch in range(count):
            with np.load(self.file(batch)) as held:
                parts.append({key: held[key] for key in held.files})
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def score_images(
    subject: Subject,
    photos: Photos,
    protocol: Protocol,
    extractor: Extractor | None,
    work: Work,
    *,
    count: int,
    batch_size: int,
    device: str = "cpu",
    share: Share | None = None,
) -> Arrays:
    """Per-image numbers and features of `count` photos, in their order; goes on where an earlier call stopped.

    Returns:
        Arrays over images: `psnr`, `ssim`, ... as asked for; `features`, `reference` of the extractor and their
        `logits`, `spatial`; `indices`, `bits`; `digest`, the sha256 of each image's pixels.
    """
    share = share or Share()
    batches = -(-count // batch_size)
    mine = range(share.rank, batches, share.count)
    todo = [batch for batch in mine if not work.file(batch).exists()]
    measure = Measure(protocol, extractor, subject.levels, device)
    crop = CROPS[protocol.crop]

    def squares(step: int) -> list[npt.NDArray[np.uint8]] | None:
        """What the subject is given, and what it is compared with where that is of another size."""
        if step >= len(todo):
            return None
        chosen = range(todo[step] * batch_size, min(count, (todo[step] + 1) * batch_size))
        read = [Image.fromarray(photos[index]) for index in chosen]
        sizes = dict.fromkeys((subject.given_size or protocol.image_size, protocol.compared_size))
        return [np.stack([np.asarray(crop(photo, size)) for photo in read]) for size in sizes]

    bar = tqdm(total=len(mine), initial=len(mine) - len(todo), desc=subject.name, unit="batch", disable=share.rank > 0)
    with Prefetcher(squares, 0, depth=2, workers=1) as prepared, bar:
        for step, cropped in prepared:
            if cropped is None:
                break
            first = todo[step] * batch_size
            given, *compared = (torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous() / 255 for pixels in cropped)
            with torch.no_grad():
                made = subject.reconstruct(given, first)
                if made.images.shape != given.shape:
                    raise ValueError(
                        f"reconstructions are {tuple(made.images.shape)}, the images {tuple(given.shape)}: the subject "
                        "gives another size back"
                    )
                arrays = measure(compared[0] if compared else given, made)
            arrays["digest"] = np.stack([digest_of(square) for square in cropped[0]])
            work.save(todo[step], arrays)
            bar.update()
    share.wait()
    return work.load(batches) if share.rank == 0 else {}


class Measure:
    """Everything that a protocol asks of one batch.

    Args:
        extractor: that of the protocol, or None.
        levels: of the subject's tokens.
        device: where the networks of metrics run.
    """

    def __init__(
        self, protocol: Protocol, extractor: Extractor | None, levels: tuple[int, ...] | None, device: str = "cpu"
    ):
        self.protocol, self.levels, self.device = protocol, levels, device
        self.extractor = extractor.to(device) if extractor is not None else None
        wanted = [net for net in ("vgg", "alex") if f"lpips_{net}" in protocol.metrics]
        self.lpips = {net: LpipsLoss(net).to(device) for net in wanted}  # type: ignore[arg-type]
        self.dreamsim = DreamSim().to(device) if "dreamsim" in protocol.metrics else None

    def __call__(self, images: Tensor, made: Reconstruction) -> Arrays:
        """Of originals (B, 3, S, S) at the size at which they are compared, and what was made of them, of any size."""
        protocol = self.protocol
        ours = made.images
        if unfit := [row for row, image in enumerate(ours) if not bool(image.isfinite().all())]:
            raise ValueError(
                f"{len(unfit)} of a batch of {len(ours)} reconstructions hold NaN or infinity, the first in row "
                f"{unfit[0]}: they have no score"
            )
        if ours.shape != images.shape:
            ours = plain_bicubic(ours.float(), (protocol.compared_size, protocol.compared_size))
        ours = rounded(ours, protocol.rounding)
        arrays: Arrays = {}
        if "psnr" in protocol.metrics:
            arrays["psnr"] = psnr(ours, images).numpy()
        if "ssim" in protocol.metrics:
            arrays["ssim"] = ssim.ssim(ours, images, rule=SSIM_RULES[protocol.ssim]).numpy()
        if "ms_ssim" in protocol.metrics:
            arrays["ms_ssim"] = ssim.ms_ssim(ours, images).numpy()
        if "l1" in protocol.metrics:
            arrays["l1"] = (ours - images).abs().mean((1, 2, 3)).numpy()
        pair = [each.to(self.device) for each in (ours, images)]
        if self.dreamsim is not None:
            arrays["dreamsim"] = self.dreamsim(*pair).cpu().numpy()
        if protocol.lpips_range == "unit":
            pair = [(each + 1) / 2 for each in pair]  # of which LPIPS makes the images again
        for net, lpips in self.lpips.items():
            arrays[f"lpips_{net}"] = lpips.distances(*pair).cpu().numpy()
        if self.extractor is not None:
            arrays |= self._extracted(self.extractor, ours, images)
        if made.indices is not None and "codes" in protocol.metrics:
            arrays["indices"] = made.indices.numpy().astype(_integer(self.levels))
        for name, counted in (("tokens", made.tokens), ("bits", made.bits), ("file_bits", made.file_bits)):
            if counted is not None:
                arrays[name] = counted.double().numpy()
        return arrays

    def _extracted(self, extractor: Extractor, ours: Tensor, images: Tensor) -> Arrays:
        protocol = self.protocol
        got: Extracted = extractor(ours.to(self.device))
        arrays: Arrays = {"features": got.features.cpu().numpy()}
        if "is" in protocol.metrics:
            arrays["logits"] = _needed(got.logits, "is", protocol).cpu().numpy()
        if "sfd" in protocol.metrics:
            arrays["spatial"] = _needed(got.spatial, "sfd", protocol).cpu().numpy()
        if protocol.reference == "images":
            want: Extracted = extractor(images.to(self.device))
            arrays["reference"] = want.features.cpu().numpy()
            if "sfd" in protocol.metrics:
                arrays["reference_spatial"] = _needed(want.spatial, "sfd", protocol).cpu().numpy()
            if "perceptual" in protocol.metrics:
                maps = [_needed(each.maps, "perceptual", protocol) for each in (got, want)]
                arrays["perceptual"] = feature_distances(*maps).cpu().numpy()
        return arrays


def rounded(images: Tensor, rounding: Rounding) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], clamped, at the levels that files would hold."""
    images = images.detach().float().cpu().clamp(0, 1)
    match rounding:
        case "float":
            return images
        case "truncate":
            return (images * 255).floor() / 255
        case "round":
            return (images * 255).round() / 255
    stored = [Image.open(io.BytesIO(encode_as(to_image(image), "JPEG", 95))).convert("RGB") for image in images]
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 for image in stored])


def pixels_sha256(digests: npt.NDArray[np.uint8]) -> str:
    """Identity of a set of images: over the digests (N, 32) of their pixels, in order."""
    return hashlib.sha256(digests.tobytes()).hexdigest()


def describe(subject: Subject, protocol: Protocol, data: str, count: int, batch_size: int) -> dict[str, Any]:
    """What the batches of a run depend on."""
    return {
        "subject": subject.name,
        "weights": subject.weights,
        "protocol": protocol.sha256,
        "data": data,
        "count": count,
        "batch_size": batch_size,
        "extractor": asdict(protocol.extractor) if protocol.extractor else None,
    }


def data_name(photos: Photos) -> str:
    """Name, size and number of what is read: enough to tell that a run is started again with other data."""
    path = getattr(photos, "path", None)
    names: Any = getattr(photos, "names", None)
    size = Path(path).stat().st_size if path is not None and Path(path).is_file() else 0
    return f"{Path(path).name if path is not None else 'images'} {size} {len(photos)} {names[0] if names else ''}"


def digest_of(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The sha256 of an image's pixels, uint8 (32,)."""
    return np.frombuffer(hashlib.sha256(pixels.tobytes()).digest(), dtype=np.uint8)


def _integer(levels: tuple[int, ...] | None) -> type[np.signedinteger[Any]]:
    """The narrowest type that holds an index."""
    most = max(levels) if levels else 2**63
    return np.int16 if most <= 2**15 else np.int32 if most <= 2**31 else np.int64


def _needed(value: Any, metric: str, protocol: Protocol) -> Any:
    if value is None:
        name = protocol.extractor.name if protocol.extractor else None
        raise ValueError(f"protocol {protocol.name!r} asks for {metric}, which the extractor {name} does not give")
    return value
