"""ALIT's numbers under the names of its golden cases."""

from typing import Any

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.tokenizers.alit.weights import read_config
from tokzoo.tokenizers.karl.golden import read_base


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config, base=read_base(case)))
    images = case.image()
    ours: dict[str, Tensor] = {}
    encoder = model.encoder
    for number in range(model.config.num_rounds):
        tokens: Any = model.encode(images, num_tokens=(number + 1) * model.config.round_tokens)
        rollout = encoder.begin(images)
        for turn in range(number + 1):  # no patch of the case is settled between rounds
            rollout = encoder.turn(encoder.add_queries(rollout, turn) if turn else rollout)
        ours |= {
            f"latents_{number}": rollout.hidden[:, 1 + encoder.num_patches :, :64],
            f"z_{number}": encoder.read(rollout).latents,
            f"indices_{number}": tokens.indices,
            f"reconstruction_{number}": model.decode(tokens, clamp=False),
        }
    return ours
