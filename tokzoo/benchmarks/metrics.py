"""Set metrics beside the published tools: features of Inception, and the Frechet distance of 2048-d statistics."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tokzoo._torchvision import import_with_torchvision
from tokzoo.benchmarks.micro import Comparison
from tokzoo.benchmarks.timing import interleaved
from tokzoo.metrics.frechet import frechet_distance
from tokzoo.metrics.inception import FidInception, convert
from tokzoo.metrics.statistics import GaussianStatistics, Moments

IMAGES, SIDE = 16, 256
WIDTH, COUNT = 2048, 4096


def compare(*, device: str = "cpu", rounds: int = 5) -> list[Comparison]:
    """Ours beside torch-fidelity, and beside SciPy's square root of a matrix.

    Raises:
        ImportError: torch-fidelity or SciPy is missing.
    """
    return [_features(device, rounds), _distances()]


def _features(device: str, rounds: int) -> Comparison:
    """Both networks with the same random weights, uint8 images in, features out."""
    module = import_with_torchvision("torch_fidelity.feature_extractor_inceptionv3")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.pth")
        torch.save(_random_state(), file)
        theirs = module.FeatureExtractorInceptionV3("fid", ["2048", "logits_unbiased"], str(file)).to(device)
    ours = FidInception()
    ours.load_state_dict(convert(theirs.state_dict()))
    ours = ours.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator).to(device)
    want, got = theirs(images)[0], ours(images.float() / 255).pool
    away = float((want - got).abs().max() / want.abs().max())
    calls: dict[str, Callable[[], object]] = {
        "tokzoo": lambda: ours(images.float() / 255),
        "torch-fidelity": lambda: theirs(images),
    }
    return Comparison(
        setting=f"Inception features of {IMAGES} images of {SIDE} pixels, on which rFID's time is spent",
        timings=interleaved(calls, rounds=rounds, device=device),
        note=f"features differ by {away:.1e} of the largest",
    )


def _random_state() -> dict[str, Tensor]:
    """A state dict of torch-fidelity's network; its constructor wants a file, so the blocks' shapes come from ours."""
    network: nn.Module = FidInception()
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    stems = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    convs = [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d)]
    for number, (name, conv) in enumerate(convs):
        place = stems[number] if number < len(stems) else name.removeprefix("blocks.").replace(".convs", "")
        fan = conv.weight[0].numel()
        state[f"{place}.conv.weight"] = torch.randn(conv.weight.shape, generator=generator) * (2 / fan) ** 0.5
        for part, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            state[f"{place}.bn.{part}"] = torch.full((conv.out_channels,), value)
        state[f"{place}.bn.num_batches_tracked"] = torch.tensor(0)
    state["fc.weight"] = torch.randn(1008, 2048, generator=generator) / 45
    state["fc.bias"] = torch.zeros(1008)
    return state


def _distances() -> Comparison:
    """Statistics of correlated features, from more images than dimensions. Timed once: the baseline takes its time."""
    try:
        from scipy.linalg import sqrtm
    except ImportError as error:
        raise ImportError("the baseline needs SciPy: pip install 'tokzoo[eval]'") from error
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    pair = [
        GaussianStatistics.of(scale * torch.randn(COUNT, WIDTH, generator=generator).relu() @ mix).moments()
        for scale in (1.0, 1.1)
    ]

    def published(ours: Moments, theirs: Moments) -> float:
        s1, s2 = ours.covariance.numpy(), theirs.covariance.numpy()
        root = np.real(np.trace(sqrtm(s1 @ s2)))
        return float((ours.mean - theirs.mean).square().sum()) + float(np.trace(s1) + np.trace(s2) - 2 * root)

    values: dict[str, float] = {}
    calls: dict[str, Callable[[], object]] = {
        "tokzoo": lambda: values.update(ours=frechet_distance(*pair)),
        "scipy sqrtm": lambda: values.update(published=published(*pair)),
    }
    timings = interleaved(calls, rounds=1, memory=False)
    got, want = values["ours"], values["published"]
    return Comparison(
        setting=f"Frechet distance of {WIDTH}-d statistics",
        timings=timings,
        note=f"{abs(got - want) / want:.1e} of the value apart",
    )
