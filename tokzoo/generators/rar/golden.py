"""RAR's numbers under the names of its golden cases."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.rar.model import Rar
from tokzoo.generators.rar.weights import read_config
from tokzoo.golden import Case, build


def run(case: Case) -> dict[str, Tensor]:
    model: Any = build(case, read_config(case.config))
    ids, orders = case.image("ids"), case.image("orders")
    labels = model.condition(case.image("labels_class"))
    ours = {
        "ids": ids,
        "labels_class": case.image("labels_class"),
        "orders": orders,
        "logits_raster": with_last(model, ids, labels, None),
        "logits_raster_uncond": with_last(model, ids, model.null(labels), None),
        "logits_random": with_last(model, ids, labels, orders),
        "labels_shuffled": ids.gather(1, orders),
    }
    for name, knobs in case.settings["generate"].items():
        made = model.sample(
            labels,
            guidance=knobs["guidance_scale"] or 1.0,  # theirs is off at 0
            guidance_schedule="power_cosine",
            guidance_power=knobs["guidance_scale_pow"],
            temperature=0,
        )
        ours[name] = made.indices
    return ours


def with_last(model: Rar, ids: Tensor, labels: Any, orders: Tensor | None) -> Tensor:
    """The L rows of logits, and the one that authors make of the last token and do not use."""
    if orders is None:
        orders = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    hidden = model._forward(ids.gather(1, orders), labels, orders, None)
    return model.head(hidden[:, 1:])
