"""What several tests need: every family's tiny model."""

import importlib

import torch

from tokzoo import VisualTokenizer
from tokzoo.conditions import noise_for
from tokzoo.registry import Architecture, architectures, load_object
from tokzoo.tokenizers.on_volume import VideoTokenizer


def families() -> dict[str, Architecture]:
    """One architecture per family of tokenizers."""
    return {entry.family: entry for entry in architectures().values() if entry.kind == "tokenizer"}


def tiny(family: str, **changes: object) -> VisualTokenizer:
    """The family's TINY config, built with a fixed seed."""
    from tokzoo.registry import override

    architecture = families()[family]
    package = architecture.model.partition(":")[0].rpartition(".")[0]
    config = importlib.import_module(f"{package}.config").TINY
    torch.manual_seed(0)
    return load_object(architecture.model)(override(config, changes)).eval()


def some_images(tok: VisualTokenizer, count: int = 2) -> torch.Tensor:
    """Uniform noise of the size that `tok` takes: images, or videos."""
    frames = (tok.num_frames,) if isinstance(tok, VideoTokenizer) else ()
    return torch.rand(count, 3, *frames, tok.image_size, tok.image_size, generator=torch.Generator().manual_seed(1))


def some_conditions(tok: VisualTokenizer, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Whatever `tok` needs beside these images: prepared of them, or normal noise of the shape that it states."""
    noise = noise_for(tok.conditions, len(images), seed=2)
    return tok.prepare(images) | {name: value.to(images.device) for name, value in noise.items()}
