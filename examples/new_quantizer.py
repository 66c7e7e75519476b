"""A quantizer of your own: every channel becomes -1, 0 or 1. `python examples/new_quantizer.py [STEPS FOLDER]`"""

import sys

import tokzoo
from tokzoo.losses.reconstruction import psnr
from tokzoo.parts import Quantizer
from tokzoo.quantizers.digits import Digits
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Quantized
from tokzoo.training import TrainConfig, train


class Ternary(Quantizer):
    def __init__(self, code_dim):
        super().__init__()
        self.code_dim, self.digits = code_dim, Digits([3] * code_dim)

    levels = property(lambda self: self.digits.levels)

    def forward(self, latents, layout=None, *, sample=False, generator=None):
        points = latents.float().tanh()
        steps = points.detach().round()
        return Quantized(straight_through(points, steps), self.digits.pack(steps + 1), None, {})

    def decode(self, indices, layout=None):
        return self.digits.unpack(indices).float() - 1


if __name__ == "__main__":
    steps, folder = (int(sys.argv[1]), sys.argv[2]) if len(sys.argv) == 3 else (400, "runs/ternary")
    tokzoo.register_quantizer("ternary", Ternary)
    model = dict(name="grid", quantizer=dict(name="ternary", code_dim=8))  # the default encoder and decoder
    train(TrainConfig(data="examples/images", out=folder, model=model, steps=steps, batch_size=8))
    tok = tokzoo.from_pretrained(f"{folder}/final")
    images = tok.preprocess("examples/images/apple.jpg")
    tokens = tok.encode(images)
    print(f"{tokens.bits()[0]} bits, {psnr(tok.decode(tokens), images)[0]:.2f} dB")
