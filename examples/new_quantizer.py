"""A quantizer of your own: every channel becomes -1, 0 or 1. `python examples/new_quantizer.py [STEPS FOLDER]`"""

import sys

import tokzoo
from tokzoo.losses.reconstruction import psnr
from tokzoo.parts import Quantizer
from tokzoo.quantizers.digits import Digits
from tokzoo.quantizers.through import straight_through
from tokzoo.tokens import Quantized
from tokzoo.training import LossConfig, OptimizerConfig, TrainConfig, train


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
    steps, out = (int(sys.argv[1]), sys.argv[2]) if len(sys.argv) == 3 else (500, "runs/ternary")
    tokzoo.register_quantizer("ternary", Ternary)
    vit = dict(name="vit", width=96, depth=2)
    model = dict(name="grid", encoder=vit, quantizer=dict(name="ternary", code_dim=8), decoder=vit)
    how = dict(batch_size=8, loss=LossConfig(perceptual=0), optimizer=OptimizerConfig(muon_lr=5e-3, warmup=50))
    tok = tokzoo.from_pretrained(train(TrainConfig(data="examples/images", out=out, model=model, steps=steps, **how)))
    images = tok.preprocess("examples/images/apple.jpg")
    tokens = tok.encode(images)
    print(f"{tokens.bits()[0]} bits, {psnr(tok.decode(tokens), images)[0]:.2f} dB")
