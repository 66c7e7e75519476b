"""The numbers of IBQ's generator under the names of its golden case."""

from typing import Any

from torch import Tensor

from tokzoo.generators.ibq.weights import read_config
from tokzoo.golden import Case, build


def run(case: Case) -> dict[str, Tensor]:
    model: Any = build(case, read_config(case.config))
    labels = case.image("class").flatten()
    made = model.sample(labels, guidance=case.settings["gen_cfg"]["cfg_scale"], temperature=0)
    return {"logits": model.logits(case.image("tokens"), labels), "gen_cfg": made.indices}
