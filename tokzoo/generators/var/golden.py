"""VAR's numbers under the names of its golden cases."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.sampling import keep_likely
from tokzoo.generators.var.weights import read_config
from tokzoo.golden import Case, build
from tokzoo.tokenizers.var_vqvae.weights import read_config as read_tokenizer_config


def run(case: Case) -> dict[str, Tensor]:
    tokenizer = build(
        replace(case, family="var_vqvae", weights=case.parts["vae"]), read_tokenizer_config(case.config["vae"])
    )
    model: Any = build(case, read_config(case.config))
    model.read_tokenizer(tokenizer)
    labels, filtered = case.image("label"), case.image("filter_logits")
    made = model.sample(
        labels, guidance=1 + case.settings["generation"]["cfg"], guidance_schedule="linear", temperature=0
    )
    kept = [
        keep_likely(filtered, top_k=knobs["top_k"] or None, top_p=knobs["top_p"] or None).isfinite()
        for knobs in case.settings["filter_keep"]
    ]
    return {
        "logits": model.predict(case.image("x_BLCv_wo_first_l"), labels),
        "logits_from_vae": model.predict(case.image("var_input"), labels),
        "gen_indices": made.indices,
        "gen_image_sub": tokenizer.decode(made)[:, :, ::2, ::2],
        "filter_keep": torch.stack(kept),
    }
