"""One-D-Piece's numbers under the names of its golden cases."""

from torch import Tensor

from tokzoo.golden import Case, as_row, build
from tokzoo.tokenizers.one_d_piece import weights
from tokzoo.tokenizers.titok.golden import read_case_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_case_config(case, weights.read_config))
    output = model(case.image())
    tokens = output.tokens
    ours = {"z": as_row(output.latents), "z_q": as_row(output.codes), "indices": tokens.indices.unsqueeze(1)}
    for length in case.settings["lengths"]:
        prefix = tokens[:, :length]
        ours[f"pixel_code_logits_len{length}"] = model.pixel_code_logits(prefix)[:, :, :2, :2]
        ours[f"reconstruction_len{length}"] = model.decode(prefix, clamp=False)
    return ours
