"""One-D-Piece, arXiv:2501.10064: a TiTok whose first tokens say most, so that any prefix is a picture."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.tokenizers.base import TokenizerOutput
from tokzoo.tokenizers.one_d_piece.config import OneDPieceConfig
from tokzoo.tokenizers.titok.model import Titok
from tokzoo.tokens import Sequence, TokenSpec


class OneDPiece(Titok):
    """TiTok trained by tail token drop (section 3.2): `decode(tokens[:, :k])` takes every k from 1 to `num_tokens`.

    Images of a batch may keep different lengths: `Tokens.valid` hides tokens from the decoder as if they were absent.
    """

    config: OneDPieceConfig

    @property
    def token_spec(self) -> TokenSpec:
        config = self.config
        return TokenSpec(
            layout=Sequence(config.num_tokens),
            levels=(config.codebook_size,),
            channels=config.code_dim,
            lengths=(1, config.num_tokens),
            ordered=True,
        )

    def forward(
        self,
        images: Tensor,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
        length: Tensor | None = None,
        **conditions: Tensor,
    ) -> TokenizerOutput:
        """As every tokenizer's; with `length`, int64 () or one per image (B, 1), the decoder reads only so many tokens.

        The others are hidden rather than cut off, so that shapes, and with them the compiled graph, stay the same.
        """
        features, quantized = self._quantize(images, sample=sample, generator=generator, conditions=conditions)
        tokens = self._to_tokens(images, features, quantized)
        kept = None
        if length is not None:
            kept = (torch.arange(tokens.num_tokens, device=images.device) < length).expand(len(images), -1)  # (B, N)
        placed = features._replace(latents=quantized.codes.to(self.dtype), valid=kept, extent=tokens.extent)
        reconstruction = self._decoder()(placed)
        return TokenizerOutput(reconstruction, features.latents, tokens, quantized.codes, quantized.losses)

    def training_draws(self, images: Tensor, generator: torch.Generator) -> dict[str, Any]:
        if not self.config.tail_drop:
            return {}
        most = self.config.num_tokens  # one length per batch, as published
        return {"length": torch.randint(1, most + 1, (), generator=generator, device=generator.device)}
