"""What the photos of a folder tell of a continuous tokenizer's latents. N latents of all photos, C channels."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tokzoo.tokenizers.base import Photo, VisualTokenizer
from tokzoo.tokens import Tokens

BATCH = 8  # images that are encoded at once
PROBED = 2  # images that the decoder is differentiated for at once
PROBES = 4  # random sums of the pixels that are differentiated


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` saw of a tokenizer: `samples` (N, C) of its latents, and what an error in each costs.

    `costs` (N, C) are square errors of pixels per square error of that latent, estimated without bias: single ones are
    noisy, sums over many are not. `of` tells the tokenizer.
    """

    samples: Tensor
    costs: Tensor
    of: str


Photos = str | Path | Iterable[Photo] | Tensor


@torch.no_grad()
def calibrate(tok: VisualTokenizer, photos: Photos) -> Calibration:
    """The latents that `tok` makes of photos, and how its decoder reads them, to quantize it by several times.

    Each photo is encoded and decoded once, and the decoder is differentiated four times.

    Args:
        photos: a folder of photos, photos, or images (B, 3, H, W); two or more, better hundreds.

    Raises:
        ValueError: a single photo, no folder, or a channel that does not vary.
    """
    noise = torch.Generator().manual_seed(0)
    samples, costs = [], []
    for tokens in _encoded(tok, photos):
        samples.append(tok.codes(tokens).float().flatten(0, 1).cpu())
        for start in range(0, len(tokens), PROBED):
            costs.append(_costs(tok, tokens[start : start + PROBED], noise))
    seen = torch.cat(samples)
    spreads = seen.std(0)
    if not bool(seen.isfinite().all()) or bool((spreads <= 0).any()):
        still = [channel for channel, spread in enumerate(spreads.tolist()) if not spread > 0]
        raise ValueError(f"channels {still[:10]} do not vary over the photos, or hold NaN: give others, or more")
    return Calibration(seen, torch.cat(costs), fingerprint(tok))


def fingerprint(tok: VisualTokenizer) -> str:
    """A hash of the encoder's weights, which say what the latents are."""
    found = hashlib.sha256()
    for name, value in sorted((tok.encoder or tok).state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:32]


def _encoded(tok: VisualTokenizer, photos: Photos) -> Iterable[Tokens]:
    if isinstance(photos, Tensor):
        count, batches = len(photos), iter(photos.split(BATCH))
    else:
        listed = list(photos) if not isinstance(photos, str | Path) else _photos_in(Path(photos))
        count = len(listed)
        batches = (tok.preprocess(listed[start : start + BATCH]) for start in range(0, count, BATCH))
    if count < 2:
        raise ValueError(f"statistics need two photos or more, and are better of hundreds; got {count}")
    return (tok.encode(batch.to(tok.device)) for batch in batches)


def _photos_in(folder: Path) -> list[Photo]:
    from tokzoo.images import IMAGE_EXTENSIONS

    if not folder.is_dir():
        raise ValueError(f"calibration must be a folder of photos, photos or images; {folder} is no folder")
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_EXTENSIONS]


def _costs(tok: VisualTokenizer, tokens: Tokens, noise: torch.Generator) -> Tensor:
    """Square error of pixels per square error in each latent (N, C), of independent small errors.

    The slope of a sum of pixels with random signs, squared, has the sum of the pixels' squared slopes as its mean.
    """
    held = tok.codes(tokens).float()
    with torch.inference_mode(False), torch.enable_grad():
        codes = held.clone().requires_grad_()
        images = tok.decode(replace(tokens, latents=codes), clamp=False)
        found = torch.zeros_like(codes, requires_grad=False)
        for probe in reversed(range(PROBES)):
            signs = torch.randint(2, images.shape, generator=noise).to(images) * 2 - 1
            (slopes,) = torch.autograd.grad(images, codes, signs, retain_graph=probe > 0)
            found += slopes.square() / PROBES
    return found.flatten(0, 1).cpu()
