"""The numbers of ELM's binary autoencoder under the names of its golden cases."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map
from tokzoo.tokenizers.bae.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config, sub_tokens=case.settings["sub_tokens"]))
    output = model(case.image())
    tokens = output.tokens
    grid = (tokens.layout.height, tokens.layout.width)
    digits = model.quantizer.digits
    return {
        "prob": to_map(output.latents.sigmoid(), *grid),
        "bits": to_map(digits.unpack(tokens.indices), *grid).float(),
        "quantized": to_map(output.codes, *grid),
        "code_loss": output.losses["commitment_loss"],
        "token_ids": tokens.indices,
        "recon": model.decode(tokens, clamp=False),
    }
