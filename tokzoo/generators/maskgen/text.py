"""CLIP's text tower as MaskGen reads it. B batch, T = 77 tokens of text."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokzoo._torchvision import import_with_torchvision
from tokzoo.conditions.clip_text import ClipText
from tokzoo.generators.maskgen.caption import SCORE, Caption


class CaptionText(nn.Module):
    """Captions of texts: `MaskgenVq.sample(CaptionText()(["a red bird"]))`; of [""] for `read_empty`.

    `text` is the tower as TA-TiTok's decoder reads it, which a caption holds too: the same weights serve both.

    Args:
        tower: an open_clip CLIP model with its text tower; None downloads OpenAI's ViT-L/14 at 336 pixels.
        tokenize: texts -> ids (B, 77); None is open_clip's own.

    Raises:
        ImportError: open_clip is missing.
    """

    def __init__(self, tower: Any = None, tokenize: Callable[[list[str]], Tensor] | None = None):
        super().__init__()
        if tower is None:
            try:
                open_clip = import_with_torchvision("open_clip")
            except ImportError as error:
                raise ImportError("CLIP's captions need open_clip: pip install 'tokzoo[text]'") from error
            tower = open_clip.create_model("ViT-L-14-336", pretrained="openai", force_quick_gelu=True)
        self.text = ClipText(tower, tokenize)
        self.projection: nn.Parameter = tower.text_projection

    @torch.no_grad()
    def forward(self, texts: Sequence[str], *, score: float | Tensor = SCORE) -> Caption:
        if isinstance(texts, str):
            raise TypeError("texts must be a list, one per image; got one text")
        tower: Any = self.text
        ids = tower.tokenize(list(texts)).to(self.projection.device)
        hidden, before = tower.embedding(ids) + tower.positions, None
        for block in tower.transformer.resblocks:
            before, hidden = hidden, block(hidden, attn_mask=tower.mask)  # (B, T, C)
        assert before is not None
        last = tower.norm_out(hidden)
        ends = last[torch.arange(len(ids), device=ids.device), ids.argmax(1)]  # the greatest id ends
        return Caption(before, ends @ self.projection, score, last)
