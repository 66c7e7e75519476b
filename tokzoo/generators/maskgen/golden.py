"""MaskGen's numbers under the names of its golden cases."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.maskgen.caption import Caption, paired_waves, stacked_waves
from tokzoo.generators.maskgen.model import MaskgenKl, MaskgenVq
from tokzoo.generators.maskgen.weights import convert, read_config
from tokzoo.golden import Case
from tokzoo.registry import architectures, load_object


def run(case: Case) -> dict[str, Tensor]:
    model = build_either(case)
    score = case.image("aesthetic_score")
    condition = model.condition(Caption(case.image("text"), case.image("text_pooled").squeeze(1), score))
    if isinstance(model, MaskgenVq):
        ids = case.image("input_ids")
        waves = stacked_waves(score, model.config.score_dim)
        return {"input_ids": ids, "micro_embedding": waves, "logits": model.logits(ids, condition)}
    mask, noisy = case.image("mask"), case.image("x_t")
    known = (1 - mask).nonzero()[:, 1].view(len(mask), -1)
    features = model.backbone(case.image("tokens"), known, condition)
    about = case.settings["diff_out_cfg"]
    plain = model.head(noisy, case.image("t"), model.head.tell(features[:, case.settings["diff_out"]["z_position"]]))
    told, moments = model.head.tell(features[:, about["z_position"]]), case.image("t_cfg")
    guided = model.head.guided(noisy[:1], moments, told, about["cfg_scale"])
    spread = model.head(noisy[:1].repeat(2, 1), moments, told).spread  # of both halves; ours keeps the first
    return {
        "mask": mask,
        "micro_embedding": paired_waves(score, model.config.score_dim),
        "z": features,
        "diff_out": torch.cat(plain, dim=1),
        "diff_out_cfg": torch.cat([guided.epsilon.repeat(2, 1), spread], dim=1),
    }


def build_either(case: Case) -> Any:
    """The discrete or the continuous kind."""
    config = read_config(case.config)
    kind = "maskgen_vq_l" if config is not None and hasattr(config, "codebook_size") else "maskgen_kl_l"
    model: Any = load_object(architectures()[kind].model)(config)
    assert isinstance(model, MaskgenVq | MaskgenKl)
    model.load_state_dict(convert(case.weights, model.config))
    return model.to(device=case.device, dtype=case.dtype).eval()
