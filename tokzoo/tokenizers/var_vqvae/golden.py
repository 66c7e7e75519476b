"""The numbers of VAR's tokenizer under the names of its golden cases."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.tokenizers.var_vqvae.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    images = (case.image() + 1) / 2  # recorded in [-1, 1]
    output = model(images)
    tokens, side = output.tokens, model.config.scales[-1]
    raw = model.decode(tokens, clamp=False) * 2 - 1
    sums = model.quantizer.decode_steps(tokens.indices)
    return {
        "latent": to_map(output.latents, side, side),
        "indices": tokens.indices,
        "recon_sub": (model.decode(tokens) * 2 - 1)[:, :, ::2, ::2],
        "recon_raw_sub": raw[:, :, ::2, ::2],
        "var_input": model.quantizer.next_scale_inputs(tokens.indices),
        "vq_loss": output.losses["codebook_loss"] + case.config["beta"] * output.losses["commitment_loss"],
        **{f"f_hat_{scale}": to_map(codes, side, side) for scale, codes in enumerate(sums)},
    }
