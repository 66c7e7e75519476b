"""IBQ's numbers under the names of its golden cases."""

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.parts import Quantizer
from tokzoo.tokenizers.ibq.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    images = (case.image() + 1) / 2  # recorded in [-1, 1]
    latents, output = model.features(images), model(images)
    grid = (output.tokens.layout.height, output.tokens.layout.width)
    to_latents, to_codebook = gradients(model.quantizer, latents, to_tokens(case.image("grad_output")))
    losses, entropy = output.losses, model.quantizer.entropy(latents)
    quantizer_loss = losses["index_loss"] + losses["commitment_loss"] + 0.25 * losses["codebook_loss"]
    return {
        "latent": to_map(latents, *grid),
        "indices": output.tokens.indices.unflatten(1, grid),
        "quantized": to_map(output.codes, *grid),
        "recon": model.decode(output.tokens, clamp=False) * 2 - 1,
        "losses": torch.stack([quantizer_loss, entropy.per_token, entropy.overall, entropy.loss]),
        "grad_latent": to_map(to_latents, *grid),
        "grad_codebook": to_codebook,
    }


def gradients(quantizer: Quantizer, latents: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Of sum(codes * weight) to the latents and to the codebook."""
    with torch.enable_grad():
        latents = latents.detach().requires_grad_()
        total = (quantizer(latents).codes * weight).sum()
        to_latents, to_codebook = torch.autograd.grad(total, [latents, quantizer.codebook])
    return to_latents, to_codebook
