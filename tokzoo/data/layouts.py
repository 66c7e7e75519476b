"""Layouts of labelled photos: the Gaussians of their regions, by class. B batch, N regions."""

import numpy as np
import torch

from tokzoo import registry
from tokzoo.data.batches import Chosen, evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.generators.gpstoken.layouts import LayoutBank
from tokzoo.layers.gaussians import region_gaussians
from tokzoo.tokenizers.gpstoken.model import GpsToken


def layouts_of(
    photos: ImageFolder,
    tokenizer: str,
    *,
    num_tokens: int | None = None,
    per_class: int = 100,
    seed: int = 0,
    batch_size: int = 64,
) -> LayoutBank:
    """Initial Gaussians of up to `per_class` photos of each class, drawn from `seed`; classes are in sorted order.

    Args:
        photos: with labels.
        tokenizer: a registered GPSToken, whose sizes decide; its weights are not read.
        num_tokens: N; None: as the config has it.

    Raises:
        ValueError: photos without labels, another tokenizer, or fewer than 1 photo a class.
    """
    if photos.labels is None:
        raise ValueError(f"{photos.path} has no labels: they are a manifest's, or the names of folders")
    architecture, _ = registry.find(tokenizer)
    with torch.device("meta"):
        tok = registry.load_object(architecture.model)(architecture.config)
    if not isinstance(tok, GpsToken):
        raise ValueError(f"only a GPSToken cuts photos into regions; {tokenizer} is a {type(tok).__name__}")
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1; got {per_class}")
    order = np.random.default_rng(seed).permutation(len(photos)).tolist()
    layouts, size = {}, (tok.image_size, tok.image_size)
    for name in sorted(set(photos.labels)):
        rows = sorted([row for row in order if photos.labels[row] == name][:per_class])
        parts = evaluation_images(Chosen(photos, rows), tok.image_size).split(batch_size)
        regions = [tok.prepare(part.float() / 255, num_tokens=num_tokens)["regions"] for part in parts]
        layouts[name] = region_gaussians(torch.cat(regions), size)
    return LayoutBank(layouts)
