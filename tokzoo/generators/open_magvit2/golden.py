"""The numbers of Open-MAGVIT2's generator under the names of its golden case."""

from typing import Any

from torch import Tensor

from tokzoo.generators.open_magvit2.weights import read_config
from tokzoo.golden import Case, build


def run(case: Case) -> dict[str, Tensor]:
    model: Any = build(case, read_config(case.config))
    first, second = case.image("idx_pre"), case.image("idx_post")
    indices = first + (second << model.config.slot_bits[0])
    labels = case.image("class").flatten()
    made = model.sample(labels, guidance=tuple(case.settings["gen"]["cfg_scale"]), temperature=0)
    logits, parts = model.part_logits(indices, labels), model.embed.split(made.indices)
    return dict(logits_pre=logits[0], logits_post=logits[1], gen_pre=parts[0], gen_post=parts[1])
