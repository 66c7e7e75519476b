"""TA-TiTok's numbers under the names of its golden cases."""

from torch import Tensor

from tokzoo.golden import Case, as_row, build
from tokzoo.tokenizers.tatitok import weights
from tokzoo.tokenizers.titok.golden import gaussian, read_case_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_case_config(case, weights.read_config))
    text = case.image("text_guidance")
    output = model(case.image(), text=text)
    tokens = output.tokens
    ours = {"z": as_row(output.latents), "reconstruction": model.decode(tokens, text=text, clamp=False)}
    if tokens.indices is not None:
        return ours | {"z_q": as_row(output.codes), "indices": tokens.indices.unsqueeze(1)}
    return ours | gaussian(model.quantizer(output.latents).posterior, case.image("noise"))
