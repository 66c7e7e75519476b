"""CLIP's text tower, token by token. B batch, T = 77 tokens of text, D width."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokzoo._torchvision import import_with_torchvision
from tokzoo.conditions.contract import ConditionHelper


class ClipText(ConditionHelper):
    """Text features of CLIP ViT-L/14 at 336 pixels, as TA-TiTok reads them: all 77 positions after the final norm.

    Nothing is pooled, projected or normalised further. OpenAI trained the weights with QuickGELU, which open_clip up to
    2.28 set by itself; later versions leave it out unless asked. TA-TiTok's authors name no version: we ask for it.

    Args:
        tower: an open_clip CLIP model with its text tower; None downloads OpenAI's weights.
        tokenize: captions -> ids (B, 77); None is open_clip's own.

    Shapes:
        captions, B of them -> (B, 77, 768) float32

    Raises:
        ImportError: open_clip is missing.
    """

    def __init__(self, tower: Any = None, tokenize: Callable[[list[str]], Tensor] | None = None):
        super().__init__()
        try:
            open_clip = import_with_torchvision("open_clip")
        except ImportError as error:
            raise ImportError("CLIP's text features need open_clip: pip install 'tokzoo[text]'") from error
        if tower is None:
            tower = open_clip.create_model("ViT-L-14-336", pretrained="openai", force_quick_gelu=True)
        self.embedding: nn.Module = tower.token_embedding
        self.positions: nn.Parameter = tower.positional_embedding
        self.transformer: nn.Module = tower.transformer
        self.norm_out: nn.Module = tower.ln_final
        self.register_buffer("mask", tower.attn_mask, persistent=False)
        self.tokenize: Callable[[list[str]], Tensor] = tokenize or open_clip.get_tokenizer("ViT-L-14-336")

    @torch.no_grad()
    def forward(self, captions: Sequence[str]) -> Tensor:
        if isinstance(captions, str):
            raise TypeError("captions must be a list of texts, one per image; got one text")
        ids = self.tokenize(list(captions)).to(self.positions.device)
        hidden = self.transformer(self.embedding(ids) + self.positions, attn_mask=self.mask)  # (B, T, D), causal
        features: Tensor = self.norm_out(hidden)
        return features

    def condition(self, images: Tensor, captions: Sequence[str] | None = None) -> Tensor:
        """Images without captions get the features of an empty text. Equal captions are computed once."""
        texts = [""] * len(images) if captions is None else list(captions)
        if len(texts) != len(images):
            raise ValueError(f"{len(images)} images need as many captions; got {len(texts)}")
        distinct = sorted(set(texts))
        rows = torch.tensor([distinct.index(text) for text in texts], device=self.positions.device)
        return self(distinct)[rows]
