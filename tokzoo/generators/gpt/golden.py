"""The GPT's numbers under the names of LlamaGen's golden cases."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.conditions import Text, join
from tokzoo.generators.gpt.weights import read_config
from tokzoo.generators.sampling import guide, keep_likely
from tokzoo.golden import Case, build


def run(case: Case) -> dict[str, Tensor]:
    model: Any = build(case, read_config(case.config))
    condition: Any = case.image("cond")
    if model.config.text_tokens:
        condition = Text(condition, case.image("emb_mask").bool())
    condition = model.condition(condition)
    # the authors' forward pass was given no padding mask, their sampling was
    unmasked = Text(condition.features, torch.ones_like(condition.valid)) if model.config.text_tokens else condition
    ours = {"logits": model.logits(case.image("tokens"), unmasked)}
    for name, knobs in case.settings["generate"].items():
        last = knobs.get("cfg_interval", -1)  # counted from the second token on
        made = model.sample(
            condition,
            guidance=knobs["cfg_scale"],
            guided_tokens=last + 2 if last >= 0 else None,
            temperature=0,
        )
        ours[name] = made.indices.int()
    if "cfg_logits_on_cfg_path" in case.recorded:
        both = model.logits(ours["gen_cfg"].long().repeat(2, 1), join(condition, model.null(condition)))
        ours["cfg_logits_on_cfg_path"] = guide(both, case.settings["generate"]["gen_cfg"]["cfg_scale"])
    if "freqs_cis" in case.recorded:
        assert model.rotations is not None
        ours["freqs_cis"] = model.rotations
    if "filter_keep" in case.recorded:
        logits = case.image("filter_logits")
        kept = [
            keep_likely(logits, top_k=knobs["top_k"] or None, top_p=knobs["top_p"]).isfinite()
            for knobs in case.settings["filter_keep"]
        ]
        ours["filter_keep"] = torch.stack(kept)
    return ours
