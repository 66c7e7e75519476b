"""All checks of one model: its family's cases, its weights, a photo there and back, known answers."""

from pathlib import Path
from typing import Any

import torch

from tokzoo import _files, hub, registry
from tokzoo.benchmarks.machine import check_device
from tokzoo.conditions import helpers_of
from tokzoo.generators.base import Generator
from tokzoo.losses.reconstruction import psnr
from tokzoo.registry import Architecture, Weights
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.verify.answers import CELLS, PHOTO, cells, drawn_answer, published, published_answer, recorded_answer
from tokzoo.verify.cases import golden_checks
from tokzoo.verify.checks import HALF, Check, Report, first_line, full_precision

LIKENESS = 0.5  # least correlation between cells of a photo and of its reconstruction


def verify(
    name: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    file: str | Path | None = None,
    image: str | Path | None = None,
    caption: str | None = None,
) -> Report:
    """Checks a registered model on a device and in a dtype. Nothing is downloaded, but for what reads a caption.

    Args:
        name: with or without its tag.
        file: its published weights, where they are in no cache.
        image: a picture whose tokens its authors published; which ones, the report says.
        caption: of the packaged photo, for a tokenizer that reads text; "" is one too. The network that reads it is
            fetched, where it is in no cache.

    Raises:
        KeyError: no such model. ValueError: a dtype that is neither float32, bfloat16 nor float16, or no such device.
    """
    check_device(device)
    if dtype != torch.float32 and dtype not in HALF:
        raise ValueError(f"dtype must be float32, bfloat16 or float16; got {str(dtype).removeprefix('torch.')}")
    architecture, weights = registry.find(name)
    full_name = architecture.name if weights is None else architecture.full_name(weights)
    with full_precision():
        checks = golden_checks(architecture, device, dtype)
        checks += _weights_checks(architecture, weights, full_name, device, dtype, file, image, caption)
    if weights is not None:
        for score in weights.scores:
            detail = f"{score.value:g} ({score.protocol}) is the authors' word; `tokzoo eval` measures it"
            checks.append(Check("not proven", f"published {score.metric}", detail))
    return Report(full_name, device, dtype, tuple(checks))


def _weights_checks(
    architecture: Architecture,
    weights: Weights | None,
    full_name: str,
    device: str,
    dtype: torch.dtype,
    file: str | Path | None,
    image: str | Path | None,
    caption: str | None,
) -> list[Check]:
    if weights is None:
        return [Check("not proven", "weights", "none are registered under this name")]
    try:
        tok = hub.from_pretrained(full_name, file=file, local_files_only=True, device=device, dtype=dtype)
    except FileNotFoundError as error:
        if file is not None:
            return [Check("failed", "weights", first_line(error))]
        way = "--file PATH" if weights.manual else f"`tokzoo download {full_name}` or --file PATH"
        return [Check("not proven", "weights", f"they are not at hand: {way}, then verify again")]
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        return [Check("failed", "weights", f"they do not load: {first_line(error)}")]
    counted = f"{len(tok.state_dict())} tensors, {sum(value.numel() for value in tok.parameters()):,} parameters"
    checks = [Check("proven", "weights", f"every key is read and none is missing: {counted}")]
    if isinstance(tok, Generator):
        return [*checks, drawn_answer(tok, full_name)] if weights.shipped else checks
    needed = {name: condition for name, condition in tok.conditions.items() if not condition.prepared}
    readable = caption is not None and all(condition.helper for condition in needed.values())
    if architecture.modality != "image" or (needed and not readable):
        needs = ", ".join(tok.conditions) or architecture.modality
        way = "; --caption TEXT has it computed" if any(condition.helper for condition in needed.values()) else ""
        return [*checks, Check("not proven", "reconstruction", f"it takes more than a photo: {needs}{way}")]
    checks.append(_reconstruction(tok, caption or ""))
    if weights.shipped:
        checks.append(recorded_answer(tok, full_name))
    return checks + [published_answer(tok, entry, image) for entry in published(full_name)]


@torch.no_grad()
def _reconstruction(tok: VisualTokenizer, caption: str) -> Check:
    """The packaged photo comes back as itself, more or less: what random or misplaced weights do not do."""
    what = "reconstruction of the packaged photo"
    photo = tok.preprocess(_files.data_folder("known") / PHOTO)
    helpers = helpers_of(tok.conditions)
    given: dict[str, Any] = {
        name: helper.to(tok.device).condition(photo, [caption]) for name, helper in helpers.items()
    }
    made = tok.decode(tok.encode(photo, **given), **given)
    if not bool(made.isfinite().all()):
        return Check("failed", what, "it holds NaN or infinity")
    likeness = float(torch.corrcoef(torch.stack([cells(photo).flatten(), cells(made).flatten()]))[0, 1])
    said = f"{float(psnr(made, photo)):.2f} dB, correlation {likeness:.3f} over {CELLS}x{CELLS} cells"
    return Check("proven" if likeness >= LIKENESS else "failed", what, f"{said} (at least {LIKENESS} is asked)")
