"""MaskGIT's numbers under the names of its golden cases."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.fill_in import Filling
from tokzoo.generators.maskgit.weights import SCHEDULES, read_config
from tokzoo.golden import Case, build


def run(case: Case) -> dict[str, Tensor]:
    backbone = "UViT" if "mid_block.norm1.weight" in case.weights else "ViT"  # the class that authors name beside it
    published = {**case.config, "generator": {**case.config["generator"], "model_type": backbone}}
    model: Any = build(case, read_config(published))
    ids, labels = case.image("input_ids"), case.image("labels_class")
    ours = {
        "input_ids": ids,
        "labels_class": labels,
        "logits_cond": model.logits(ids, labels),
        "logits_uncond": model.logits(ids, model.null(labels)),
    }
    for name, knobs in case.settings["generate"].items():
        guidance, schedule = SCHEDULES[knobs["guidance_decay"]]
        how = Filling(
            num_steps=knobs["num_sample_steps"],
            guidance=knobs["guidance_scale"] + guidance,
            guidance_schedule=schedule,
            guidance_power=knobs.get("guidance_scale_pow", 3.0),
            temperature=knobs["randomize_temperature"],
            annealed=knobs.get("softmax_temperature_annealing", False),
        )
        *fed, ours[name] = model.steps(torch.full_like(ids, model.mask), labels, how)
        ours[f"{name}_states"] = torch.stack(fed, dim=1)
    return ours
