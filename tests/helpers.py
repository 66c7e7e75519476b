"""What several tests need: every family's tiny model."""

import importlib

import torch

from tokzoo import VisualTokenizer
from tokzoo.registry import Architecture, architectures, load_object


def families() -> dict[str, Architecture]:
    """One architecture per family."""
    return {architecture.family: architecture for architecture in architectures().values()}


def tiny(family: str, **changes: object) -> VisualTokenizer:
    """The family's TINY config, built with a fixed seed."""
    from tokzoo.registry import override

    architecture = families()[family]
    package = architecture.model.partition(":")[0].rpartition(".")[0]
    config = importlib.import_module(f"{package}.config").TINY
    torch.manual_seed(0)
    return load_object(architecture.model)(override(config, changes)).eval()


def some_images(tok: VisualTokenizer, count: int = 2) -> torch.Tensor:
    """Uniform noise of the size that `tok` takes."""
    return torch.rand(count, 3, tok.image_size, tok.image_size, generator=torch.Generator().manual_seed(1))


def some_conditions(tok: VisualTokenizer, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Whatever `tok` needs beside these images: prepared of them, or normal noise of the shape that it states."""
    generator, made = torch.Generator().manual_seed(2), tok.prepare(images)
    for name, condition in tok.conditions.items():
        if name not in made:
            shape = [3 if size is None else size for size in condition.shape]
            made[name] = torch.randn(len(images), *shape, generator=generator).to(images.device)
    return made
