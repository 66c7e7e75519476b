"""The numbers of Open-MAGVIT2's video tokenizer under the names of its golden case."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_volume
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.open_magvit2_video.weights import read_config


def run(case: Case) -> dict[str, Tensor]:
    model = build(case, read_config(case.config))
    clip, frame = (numbers(model, (case.image(name) + 1) / 2) for name in ("videos", "frames"))  # were in [-1, 1]
    return clip | {f"{name}_frames": value for name, value in frame.items()}


def numbers(model: VisualTokenizer, videos: Tensor) -> dict[str, Tensor]:
    """Latents, indices, codes and reconstruction in the authors' layout."""
    output = model(videos)
    layout = output.tokens.layout
    grid = (layout.frames, layout.height, layout.width)
    return {
        "latent": to_volume(output.latents, *grid),
        "indices": output.tokens.indices.unflatten(1, grid),
        "quantized": to_volume(output.codes, *grid),
        "recon": output.reconstruction * 2 - 1,
    }
