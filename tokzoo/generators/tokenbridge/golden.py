"""TokenBridge's numbers under the names of its golden case."""

from typing import Any

from torch import Tensor

from tokzoo.generators.mar.golden import as_maps, as_tokens, known_places
from tokzoo.generators.masked_backbone import at_places
from tokzoo.generators.sampling import score
from tokzoo.generators.tokenbridge.model import TokenBridge
from tokzoo.generators.tokenbridge.weights import read_config
from tokzoo.golden import Case, build
from tokzoo.quantizers.dimension_wise import DimensionWiseQuantizer


def run(case: Case) -> dict[str, Tensor]:
    model: Any = build(case, read_config(case.config))
    assert isinstance(model, TokenBridge) and isinstance(model.quantizer, DimensionWiseQuantizer)
    model.quantizer.load_values(case.weights["reconstruction_values"])
    order, mask, labels = case.image("order"), case.image("mask"), case.image("labels")
    known, masked = known_places(mask), known_places(1 - mask)
    indices = model.quantizer.index(as_tokens(case.image("latent"), 1))
    codes = indices[..., model.channel_order]
    features = model.backbone(model.read(indices), known, labels)
    asked, wanted = at_places(features, masked).flatten(0, 1), at_places(codes, masked).flatten(0, 1)
    trained = model.head.logits(asked, wanted)
    ours = {
        "indices": indices,
        "values": model.read(indices),
        "order": order,
        "mask": mask,
        "gt_tokens": codes,
        "encoder_out": model.backbone.encode(model.read(indices), known, labels),
        "z": features,
        "logits_train": trained,
        "loss": -score(trained, wanted).mean(),
        "logits_sampler": model.head.logits(asked, wanted, as_sampled=True),
        "argmax_tokens": model.head.sample(asked, temperature=0),
    }
    for name in ("sampled_cfg", "sampled_nocfg"):
        about = case.settings[name]
        made = model.sample(
            labels,
            num_steps=about["num_iter"],
            guidance=about["cfg"],
            temperature=about["temperature"],
            orders=order.flip(1),  # theirs is made from its end
        )
        assert made.indices is not None
        ours[name] = as_maps(model.read(made.indices), 1)
    return ours
