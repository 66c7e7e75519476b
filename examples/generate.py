"""Images of classes, and a photo of which half the tokens are kept. `python examples/generate.py [FOLDER]`"""

import math
import sys
from pathlib import Path

import tokzoo
from tokzoo.images import to_image

out = Path(sys.argv[1] if len(sys.argv) > 1 else "generated")
out.mkdir(parents=True, exist_ok=True)

pipe = tokzoo.pipeline("gpt_nano.titok_nano-photos64")  # and the tokenizer that it was trained with
for guidance in (1.0, 2.0, 4.0):  # the higher, the more like its class, and the less varied
    images = pipe(["sunflowers", "airplanes"], num_samples=4, guidance=guidance, seed=0)  # (8, 3, 64, 64) in [0, 1]
    for number, image in enumerate(images):
        to_image(image).save(out / f"guidance_{guidance:g}_{number}.png")

tok = pipe.tokenizer
tokens = tok.encode(tok.preprocess("examples/images/sunflower.jpg"))
completed = pipe("sunflowers", num_samples=4, given=tokens[:, :16], seed=0)  # the first 16 tokens stay
for number, image in enumerate(completed):
    to_image(image).save(out / f"completed_{number}.png")

likely = pipe.generator.log_prob(tokens, pipe.label("sunflowers"))
bits = -likely.item() / math.log(2)
print(f"{len(list(out.glob('*.png')))} images in {out}; the photo's tokens take {bits:.0f} bits")
