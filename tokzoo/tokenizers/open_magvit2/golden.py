"""Open-MAGVIT2's numbers under the names of its golden cases."""

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.parts import Quantizer
from tokzoo.quantizers.sign import LookupFreeQuantizer
from tokzoo.tokenizers.open_magvit2.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    images = (case.image() + 1) / 2  # recorded in [-1, 1]
    latents, output = model.features(images), model(images)
    grid = (output.tokens.layout.height, output.tokens.layout.width)
    slots = LookupFreeQuantizer(model.config.code_dim, slot_bits=case.config["factorized_bits"])
    first, second = slots.index(latents).unbind(-1)
    return {
        "latent": to_map(latents, *grid),
        "indices": output.tokens.indices.unflatten(1, grid),
        "indices_pre": first.unflatten(1, grid),
        "indices_post": second.unflatten(1, grid),
        "quantized": to_map(output.codes, *grid),
        "recon": output.reconstruction * 2 - 1,
        "losses": losses(model.quantizer, latents),
        "losses_small": losses(model.quantizer, 0.02 * latents),
    }


def losses(quantizer: Quantizer, latents: Tensor) -> Tensor:
    """Entropy per token, overall, their difference; commitment."""
    entropy = quantizer.entropy(latents)
    commitment = quantizer(latents).losses["commitment_loss"]
    return torch.stack([entropy.per_token, entropy.overall, entropy.loss, commitment])
