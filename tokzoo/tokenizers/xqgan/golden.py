"""XQ-GAN's numbers under the names of its golden cases."""

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.parts import Quantizer
from tokzoo.quantizers.multi_scale import MultiScaleQuantizer
from tokzoo.quantizers.product import ProductQuantizer
from tokzoo.quantizers.wrapped import UnitLatents
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.xqgan.weights import read_config
from tokzoo.tokens import Grid


def run(case: Case) -> dict[str, Tensor]:
    return numbers(build(case, read_config(case.config)), case)


def numbers(model: VisualTokenizer, case: Case) -> dict[str, Tensor]:
    """What the cases of this family and of RobusTok record."""
    images = (case.image() + 1) / 2  # recorded in [-1, 1]
    output = model(images)
    side, branches = model.encoder.grid_size, model.encoder.num_branches
    width = model.config.code_dim
    latents = output.latents.split(width, dim=-1)
    stacked = torch.cat(latents, dim=1).transpose(1, 2)  # (B, C, n L): branch after branch, as the authors have it
    raw = model.decode(output.tokens, clamp=False) * 2 - 1
    ours = {
        "encoder_tokens": model.encoder.read(images),
        "latent": stacked.unsqueeze(-1) if branches > 1 else stacked.unflatten(2, (side, side)),
        "recon": raw.clamp(-1, 1),
        "recon_raw": raw,
    }
    losses, direct = [], []
    for branch in range(branches):
        quantizer = model.quantizer.parts[branch] if isinstance(model.quantizer, ProductQuantizer) else model.quantizer
        made = quantizer(latents[branch], Grid(side, side))
        ours[f"indices_{branch}"] = made.indices
        for step, codes in enumerate(steps(quantizer, made.indices)):
            ours[f"f_hat_{branch}_{step}"] = to_map(codes, side, side)
        losses.append(made.losses)
        alone = quantizer(to_tokens(case.image(f"direct_{branch}")), Grid(side, side))
        direct.append(alone.codes)
        ours[f"direct_indices_{branch}"] = alone.indices
        ours[f"direct_f_hat_{branch}"] = to_map(alone.codes, side, side)
    placed = model._placed(output.tokens)._replace(latents=torch.cat(direct, dim=-1))
    scales = len(model.config.scales)
    return ours | {
        "direct_decode": model._decoder()(placed) * 2 - 1,
        "vq_loss": torch.stack([each["codebook_loss"] for each in losses]),
        "commit_loss": torch.stack([0.25 * scales * each["commitment_loss"] for each in losses]),
    }


def steps(quantizer: Quantizer, indices: Tensor) -> list[Tensor]:
    """The codes after each scale."""
    scales = quantizer.inner if isinstance(quantizer, UnitLatents) else quantizer
    if isinstance(scales, MultiScaleQuantizer):
        return list(scales.decode_steps(indices))
    return [quantizer.decode(indices)]
