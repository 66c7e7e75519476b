"""The numbers of MaskGIT's VQGAN under the names of its golden cases."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.tokenizers.maskgit_vqgan.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    images = case.image()
    tokens = model.encode(images)
    side = tokens.layout.height
    return {
        "z": model.features(images).transpose(1, 2).unflatten(2, (side, -1)),
        "indices": tokens.indices,
        "reconstruction": model.decode(tokens, clamp=False),
    }
