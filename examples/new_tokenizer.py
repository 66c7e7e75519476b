"""A tokenizer of your own: trained, scored, saved, loaded. `python examples/new_tokenizer.py [STEPS FOLDER]`"""

import sys
from dataclasses import dataclass

from torch import nn

import tokzoo
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.losses.reconstruction import psnr
from tokzoo.parts import Decoder, Encoder
from tokzoo.quantizers.fsq import FiniteScalarQuantizer
from tokzoo.tokens import Features, Grid, TokenSpec
from tokzoo.training import LossConfig, OptimizerConfig, TrainConfig, train


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """One token per patch, without a look at its neighbours."""

    image_size: int = 64
    patch_size: int = 8
    width: int = 256
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)


class PatchEncoder(Encoder):
    def __init__(self, patch_size, width, code_dim):
        super().__init__()
        self.to_width = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.to_code = nn.Conv2d(width, code_dim, 1)

    def forward(self, images):
        latents = self.to_code(self.to_width(images * 2 - 1).relu())
        return Features(to_tokens(latents), Grid(*latents.shape[2:]))


class PatchDecoder(Decoder):
    def __init__(self, patch_size, width, code_dim):
        super().__init__()
        self.from_code = nn.Conv2d(code_dim, width, 1)
        self.to_pixels = nn.ConvTranspose2d(width, 3, patch_size, stride=patch_size)

    def forward(self, codes):
        hidden = self.from_code(to_map(codes.latents, codes.layout.height, codes.layout.width))
        return (self.to_pixels(hidden.relu()) + 1) / 2


class PatchTokenizer(tokzoo.VisualTokenizer):
    """Encoder, quantizer and decoder, and what a generator needs to know; `encode`, `decode` and all else follow."""

    def __init__(self, config):
        super().__init__(config)
        self.encoder = PatchEncoder(config.patch_size, config.width, len(config.levels))
        self.quantizer = FiniteScalarQuantizer(config.levels)
        self.decoder = PatchDecoder(config.patch_size, config.width, len(config.levels))

    @property
    def token_spec(self):
        side = self.config.image_size // self.config.patch_size
        return TokenSpec(
            layout=Grid(side, side),
            levels=self.quantizer.levels,
            channels=len(self.config.levels),
            lengths=(side**2, side**2),
        )


if __name__ == "__main__":
    steps, folder = (int(sys.argv[1]), sys.argv[2]) if len(sys.argv) == 3 else (4000, "runs/patches")
    tokzoo.register_tokenizer("patches", PatchTokenizer, PatchConfig())
    fast = dict(loss=LossConfig(perceptual=0), optimizer=OptimizerConfig(lr=2e-3, warmup=50))
    train(TrainConfig(data="examples/images", out=folder, model="patches", steps=steps, batch_size=8, **fast))
    tok = tokzoo.from_pretrained(f"{folder}/final")
    images = tok.preprocess("examples/images/apple.jpg")
    tokens = tok.encode(images)
    print(f"{tokens.bits()[0]} bits, {psnr(tok.decode(tokens), images)[0]:.2f} dB")
