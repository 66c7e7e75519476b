"""WeTok's numbers under the names of its golden cases."""

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.tokenizers.wetok.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    tokens = model.encode((case.image() + 1) / 2)  # recorded in [-1, 1]
    latents = model.features((case.image() + 1) / 2)
    grid = (tokens.layout.height, tokens.layout.width)
    entropy = model.quantizer.entropy(latents)
    return {
        "pre_quant": to_map(latents, *grid),
        "quantized": to_map(model.codes(tokens), *grid).to(torch.int8),
        "indices": tokens.indices.unflatten(1, grid),
        "reconstruction": model.decode(tokens, noise=to_tokens(case.image("noise")), clamp=False) * 2 - 1,
        "per_sample_entropy": entropy.per_token.reshape(1),
        "codebook_entropy": entropy.overall.reshape(1),
        "commitment": model.quantizer(latents).losses["commitment_loss"].reshape(1),
        "entropy_aux": entropy.loss.reshape(1),
    }
