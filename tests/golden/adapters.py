"""One adapter per family: from a case to our numbers under the recorded names, through the public path."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import tokzoo
from tests.golden.cases import Case
from tokzoo.registry import architectures, load_object
from tokzoo.tokenizers.maskgit_vqgan import weights as maskgit_vqgan_weights
from tokzoo.tokenizers.titok import VitSize
from tokzoo.tokenizers.titok import weights as titok_weights

Adapter = Callable[[Case, Path], dict[str, Tensor]]


def build(case: Case, config: object, folder: Path) -> tokzoo.VisualTokenizer:
    """A model of the case's family with the published state dict, read from a file by the family's key rules."""
    architecture = next(entry for entry in architectures().values() if entry.family == case.family and entry.convert)
    model = load_object(architecture.model)(config)
    file = folder / "model.safetensors"
    save_file(case.weights, file)
    tokzoo.load_weights(model, file)
    return model.eval()


def titok(case: Case, folder: Path) -> dict[str, Tensor]:
    table = {
        name: VitSize(width=size["width"], depth=size["layers"], num_heads=size["heads"])
        for name, size in case.config["sizes"].items()
    }
    pixel = case.config.get("pixel")
    extra = {}
    if pixel is not None:
        codebook = {"n_embed": case.config["pixel_codebook_size"]}
        extra["pixel"] = maskgit_vqgan_weights.read_config({**pixel, **codebook})
    published = {
        "model": {"vq_model": case.config["vq_model"]},
        "dataset": {"preprocessing": {"crop_size": case.config["crop_size"]}},
    }
    model = build(case, titok_weights.read_config(published, vit_sizes=table, **extra), folder)
    images = case.image()
    latents = model.features(images)
    output = model(images)
    tokens = output.tokens
    ours = {"z": as_map(latents)}
    if tokens.indices is None:
        posterior = model.quantizer(latents).posterior
        noise = torch.from_numpy(case.inputs["noise"]) if "noise" in case.inputs else None
        ours |= gaussian(posterior, noise)
    else:
        ours |= {"z_q": as_map(output.codes), "indices": tokens.indices.unsqueeze(1)}
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


def maskgit_vqgan(case: Case, folder: Path) -> dict[str, Tensor]:
    model = build(case, maskgit_vqgan_weights.read_config(case.config), folder)
    images = case.image()
    tokens = model.encode(images)
    side = tokens.layout.height
    return {
        "z": model.features(images).transpose(1, 2).unflatten(2, (side, -1)),
        "indices": tokens.indices,
        "reconstruction": model.decode(tokens, clamp=False),
    }


def as_map(vectors: Tensor) -> Tensor:
    """(B, N, C) -> (B, C, 1, N), the authors' layout of one-dimensional tokens."""
    return vectors.transpose(1, 2).unsqueeze(2)


def gaussian(posterior: object, noise: Tensor | None) -> dict[str, Tensor]:
    from tokzoo.quantizers.gaussian import divergence, draw

    arrays = {
        "mean": as_map(posterior.mean),
        "logvar": as_map(posterior.logvar),
        "kl": divergence(posterior).sum(-1),
    }
    if noise is not None:
        ours = noise.squeeze(2).transpose(1, 2)
        arrays["sample_given_noise"] = as_map(draw(posterior, noise=ours))
    return arrays


ADAPTERS: dict[str, Adapter] = {"titok": titok, "maskgit_vqgan": maskgit_vqgan}
