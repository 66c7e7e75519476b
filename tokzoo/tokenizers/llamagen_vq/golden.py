"""The numbers of LlamaGen's tokenizer under the names of its golden cases."""

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.tokenizers.llamagen_vq.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    images = (case.image() + 1) / 2  # recorded in [-1, 1]
    latents, output = model.features(images), model(images)
    grid = (output.tokens.layout.height, output.tokens.layout.width)
    decoded = model.decode(output.tokens, clamp=False) * 2 - 1
    return {
        "latent": to_map(latents, *grid),
        "indices": output.tokens.indices.unflatten(1, grid),
        "quantized": to_map(output.codes, *grid),
        "recon": output.reconstruction * 2 - 1,
        "recon_from_code": decoded,
        "losses": torch.stack(
            [
                output.losses["codebook_loss"],
                0.25 * output.losses["commitment_loss"],
                0.1 * model.quantizer.entropy(latents).loss,
            ]
        ),
    }
