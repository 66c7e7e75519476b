"""What a run's tokenizer needs besides pixels. B batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tokzoo.conditions.contract import check_computable, helpers_of
from tokzoo.tokenizers.base import VisualTokenizer


class Conditioning:
    """Computes the conditions of a batch, by the frozen helpers that they name and by the tokenizer's `prepare`.

    Args:
        tok: whose conditions they are.
        caption: template of a photo's caption with {} for its label; None: no captions.
        labels: of the photos, where they have any.

    Raises:
        ValueError: a condition that nothing computes; captions of photos without labels.
        ImportError: a helper's package is missing.
    """

    def __init__(self, tok: VisualTokenizer, device: torch.device, *, caption: str | None, labels: bool):
        self.tok, self.caption = tok, caption
        if "depth" in tok.conditions:
            raise ValueError("this recipe reads photos; recipe 'gst' learns from a folder of pictures with depth")
        check_computable(tok.conditions)
        if caption is not None and not labels:
            raise ValueError("captions are made of labels, and these photos have none; leave caption= out")
        self.helpers = {name: helper.to(device) for name, helper in helpers_of(tok.conditions).items()}

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Sequence[str] | None) -> dict[str, Any]:
        """Images (B, 3, H, W) and their labels -> the conditions by name."""
        made = self.tok.prepare(images)
        captions = None
        if self.caption is not None and labels is not None:
            captions = [self.caption.format(label) for label in labels]
        return made | {name: helper.condition(images, captions) for name, helper in self.helpers.items()}
