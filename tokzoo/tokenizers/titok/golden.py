"""TiTok's numbers under the names of its golden cases."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tokzoo.golden import Case, as_row, build
from tokzoo.quantizers.gaussian import divergence, draw
from tokzoo.tokenizers.maskgit_vqgan import weights as maskgit_vqgan_weights
from tokzoo.tokenizers.titok import weights
from tokzoo.tokenizers.titok.config import VitSize
from tokzoo.tokens import Posterior


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_case_config(case, weights.read_config))
    images = case.image()
    latents = model.features(images)
    output = model(images)
    tokens = output.tokens
    ours = {"z": as_row(latents)}
    if tokens.indices is None:
        posterior = model.quantizer(latents).posterior
        noise = case.image("noise") if "noise" in case.inputs else None
        ours |= gaussian(posterior, noise)
    else:
        ours |= {"z_q": as_row(output.codes), "indices": tokens.indices.unsqueeze(1)}
    if model.config.head == "code_logits":
        return ours | {"reconstruction": model.pixel_code_logits(tokens)}
    if model.config.head == "code_mixture":
        logits = model.pixel_code_logits(tokens)
        ours |= {"pixel_code_logits": logits[:1], "pixel_code_logits_corner": logits[:, :, :3, :3]}
    images = model.decode(tokens, clamp=False)
    statistics = torch.stack([images.mean(), images.std()])
    return ours | {
        "reconstruction": images,
        "reconstruction_stride8": images[:, :, ::8, ::8],
        "reconstruction_mean_std": statistics,
    }


def read_case_config(case: Case, read_config: Callable[..., Any]) -> Any:
    """The sizes of a case of TiTok's line, of which the authors' tables do not know the tiny ones."""
    sizes: dict[str, Any] = {
        "vit_sizes": {
            name: VitSize(width=size["width"], depth=size["layers"], num_heads=size["heads"])
            for name, size in case.config["sizes"].items()
        }
    }
    if "pixel" in case.config:
        codebook = {"n_embed": case.config["pixel_codebook_size"]}
        sizes["pixel"] = maskgit_vqgan_weights.read_config({**case.config["pixel"], **codebook})
    published = {
        "model": {"vq_model": case.config["vq_model"]},
        "dataset": {"preprocessing": {"crop_size": case.config["crop_size"]}},
    }
    return read_config(published, **sizes)


def gaussian(posterior: Posterior, noise: Tensor | None) -> dict[str, Tensor]:
    arrays = {
        "mean": as_row(posterior.mean),
        "logvar": as_row(posterior.logvar),
        "kl": divergence(posterior).sum(-1),
    }
    if noise is not None:
        ours = noise.squeeze(2).transpose(1, 2)
        arrays["sample_given_noise"] = as_row(draw(posterior, noise=ours))
    return arrays
