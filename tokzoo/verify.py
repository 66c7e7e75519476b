"""Whether a model is what it is said to be, on this very device: golden cases, weights, known answers.

Each check says what it has proven, and what nobody has proven is said as well.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo import _files, _finding, golden, hub, images, registry
from tokzoo._files import write_atomically
from tokzoo.benchmarks.machine import check_device
from tokzoo.conditions import helpers_of
from tokzoo.generators.base import Generator
from tokzoo.golden import Case
from tokzoo.losses.reconstruction import psnr
from tokzoo.registry import Architecture, Weights
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

Outcome = Literal["proven", "failed", "not proven"]
PHOTO, ANSWER = "photo.png", "known.json"
RECORDED = "recorded answer"
CELLS = 8  # per side, over which pictures are averaged before they are compared


class Bounds(NamedTuple):
    """What half precision is held to: least share of equal indices, most relative error of anything before them."""

    share: float
    error: float


# Over the golden cases on a CPU, bfloat16 moved arrays by at most 6.4% and left at least 95% of the indices equal,
# float16 by 0.6% and 99%. Their random weights put latents nearer to ties than trained ones.
HALF: dict[torch.dtype, Bounds] = {torch.bfloat16: Bounds(0.9, 0.1), torch.float16: Bounds(0.97, 0.02)}
SHARE = 0.97  # of a known answer's indices in float32: other processors add in another order
PUBLISHED_SHARE = 0.9  # of indices that authors printed: theirs were made with TF32 products
CELL_ERROR = 2.0  # of 255, mean over cells
LIKENESS = 0.5  # least correlation between cells of a photo and of its reconstruction
PSNR_SLACK = 0.1  # dB, against a recorded score


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    outcome: Outcome
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.outcome:10}  {self.what}: {self.detail}"


@dataclass(frozen=True)
class Report:
    """All checks of one model."""

    name: str
    device: str
    dtype: torch.dtype
    checks: tuple[Check, ...]

    @property
    def failed(self) -> list[Check]:
        """The checks that went wrong."""
        return [check for check in self.checks if check.outcome == "failed"]

    def __str__(self) -> str:
        counts = ", ".join(
            f"{sum(check.outcome == outcome for check in self.checks)} {outcome}"
            for outcome in ("proven", "failed", "not proven")
        )
        head = f"{self.name} on {self.device} in {str(self.dtype).removeprefix('torch.')}, torch {torch.__version__}"
        return "\n".join([head, *(f"  {check}" for check in self.checks), f"  {counts}"])


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


# --- golden cases ----------------------------------------------------------------------------------------------------


def golden_checks(architecture: Architecture, device: str, dtype: torch.dtype) -> list[Check]:
    """The recorded cases of a model's family."""
    paths = golden.cases(architecture.family)
    if not paths:
        detail = "there is none of its family, so only its file can speak for it"
        return [Check("not proven", "golden cases", detail)]
    return [check_case(replace(golden.read_case(path), device=device, dtype=dtype)) for path in paths]


def check_case(case: Case) -> Check:
    """One recorded case: at its tolerance in float32, by `HALF` otherwise."""
    what = f"golden {case.name}"
    try:
        with torch.no_grad():
            ours = golden.run_case(case)
    except Exception as error:  # whatever a driver or an operator comes up with is what the user is to read
        said = f"it does not run: {type(error).__name__}: {_first_line(error)}"
        mixed = case.dtype != torch.float32 and re.search("same dtype|should be the same", said)  # the adapter's doing
        return Check("not proven" if mixed else "failed", what, said)
    missing = [name for name in case.recorded if name not in ours]
    if missing:
        return Check("failed", what, f"the adapter gives no {', '.join(missing)}")
    if case.dtype == torch.float32:
        return _exactly(case, what, ours)
    return _loosely(case, what, ours)


def _exactly(case: Case, what: str, ours: dict[str, Tensor]) -> Check:
    off = [line for line in (case.misfit(name, ours[name]) for name in case.recorded) if line is not None]
    if off:
        return Check("failed", what, f"first at {off[0]}" + (f"; {len(off) - 1} more behind it" if off[1:] else ""))
    return Check("proven", what, f"{', '.join(case.recorded)} equal the authors' at the case's tolerance")


def _loosely(case: Case, what: str, ours: dict[str, Tensor]) -> Check:
    """Half precision: relative error of arrays and share of equal integers, in order, until integers differ.

    What comes after differing integers follows from them, so it is not held against the model.
    """
    bounds, said = HALF[case.dtype], []
    for name, want in case.recorded.items():
        have = golden.as_array(ours[name])
        if have.shape != want.shape:
            return Check("failed", what, f"{name}: shape {have.shape}, recorded {want.shape}")
        if not np.issubdtype(want.dtype, np.floating):
            share = float((have == want).mean()) if want.size else 1.0
            said.append(f"{name} {share:.1%} equal")
            if share < bounds.share:
                return Check("failed", what, f"{', '.join(said)}: at least {bounds.share:.0%} is asked")
            if share < 1:
                said.append("what follows from them is not compared")
                break
        else:
            error = relative_error(have, want)
            said.append(f"{name} {error:.1e} off")
            if not error <= bounds.error:  # NaN fails
                return Check("failed", what, f"{', '.join(said)}: at most {bounds.error:.0e} is asked")
    return Check("proven", what, f"near the authors' float32: {', '.join(said)}")


def relative_error(have: np.ndarray, want: np.ndarray) -> float:
    """|have - want| / |want|, Euclidean; NaN if `have` holds one. Equal infinities are no difference."""
    off = np.where(have == want, 0.0, have.astype(np.float64) - want)
    size = float(np.linalg.norm(np.where(np.isfinite(want), want, 0.0)))
    return float(np.linalg.norm(off)) / max(size, 1e-12)


# --- weights ---------------------------------------------------------------------------------------------------------


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
            return [Check("failed", "weights", _first_line(error))]
        way = "--file PATH" if weights.manual else f"`tokzoo download {full_name}` or --file PATH"
        return [Check("not proven", "weights", f"they are not at hand: {way}, then verify again")]
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        return [Check("failed", "weights", f"they do not load: {_first_line(error)}")]
    counted = f"{len(tok.state_dict())} tensors, {sum(value.numel() for value in tok.parameters()):,} parameters"
    checks = [Check("proven", "weights", f"every key is read and none is missing: {counted}")]
    if isinstance(tok, Generator):
        return [*checks, _drawn_answer(tok, full_name)] if weights.shipped else checks
    needed = {name: condition for name, condition in tok.conditions.items() if not condition.prepared}
    readable = caption is not None and all(condition.helper for condition in needed.values())
    if architecture.modality != "image" or (needed and not readable):
        needs = ", ".join(tok.conditions) or architecture.modality
        way = "; --caption TEXT has it computed" if any(condition.helper for condition in needed.values()) else ""
        return [*checks, Check("not proven", "reconstruction", f"it takes more than a photo: {needs}{way}")]
    checks.append(_reconstruction(tok, caption or ""))
    if weights.shipped:
        checks.append(_recorded_answer(tok, full_name))
    return checks + [_published_answer(tok, entry, image) for entry in published(full_name)]


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


def _recorded(full_name: str) -> dict[str, Any] | Check:
    """The answer beside shipped weights, if they are those that gave it; else what is wrong."""
    path = _files.data_folder("checkpoints") / full_name / ANSWER
    if not path.is_file():
        return Check("not proven", RECORDED, f"this checkpoint came without {ANSWER}")
    want: dict[str, Any] = json.loads(path.read_text())
    if _files.sha256_of(path.with_name(_finding.WEIGHTS)) != want["weights_sha256"]:
        return Check("failed", RECORDED, f"{_finding.WEIGHTS} is not the file that was recorded: its sha256 differs")
    return want


@torch.no_grad()
def _recorded_answer(tok: VisualTokenizer, full_name: str) -> Check:
    want = _recorded(full_name)
    if isinstance(want, Check):
        return want
    photo_file = _files.data_folder("known") / PHOTO
    if _files.sha256_of(photo_file) != want["photo_sha256"]:
        return Check("failed", RECORDED, f"{PHOTO} is not the one that was recorded: its sha256 differs")
    photo = tok.preprocess(photo_file)
    tokens = tok.encode(photo)
    score = float(psnr(tok.decode(tokens), photo))
    bounds = HALF.get(tok.dtype, Bounds(SHARE, 1e-3))
    said, ok = _against(tokens, want["tokens"], bounds)
    ok = ok and (tok.dtype != torch.float32 or abs(score - want["psnr"]) <= PSNR_SLACK)
    said = f"sha256 of the file as recorded; {said}; {score:.2f} dB, recorded {want['psnr']:.2f}"
    return Check("proven" if ok else "failed", RECORDED, said)


@torch.no_grad()
def _drawn_answer(model: Generator, full_name: str) -> Check:
    """How likely recorded tokens are: near-ties can turn a draw, and move this by little."""
    want = _recorded(full_name)
    if isinstance(want, Check):
        return want
    loss = _loss_of(model, want)
    ok = abs(loss - want["loss"]) <= HALF.get(model.dtype, Bounds(SHARE, 1e-3)).error * want["loss"]
    said = f"sha256 of the file as recorded; recorded tokens have a loss of {loss:.4f}, recorded {want['loss']:.4f}"
    return Check("proven" if ok else "failed", RECORDED, said)


def _loss_of(model: Generator, recorded: dict[str, Any]) -> float:
    """Of recorded tokens, a sample of each of the first classes."""
    generator, given = torch.Generator(model.device).manual_seed(0), {}
    if model.levels is not None:
        tokens = Tokens(layout=model.layout, indices=torch.tensor(recorded["tokens"]), levels=model.levels)
    else:
        tokens = Tokens(layout=model.layout, **{name: torch.tensor(value) for name, value in recorded["drawn"].items()})
    if tokens.geometry is not None:
        given["layouts"] = tokens.geometry  # any will do: the loss is compared, whatever it is
    return float(model.loss(tokens, list(range(len(tokens))), generator=generator, **given))


def _drawn_of(model: Generator) -> dict[str, Any]:
    """Tokens of the first two classes, for `_loss_of`."""
    if model.levels is not None:
        indices = model.sample([0, 1], temperature=0).indices
        assert indices is not None
        return {"tokens": indices.tolist()}
    drawn = model.sample([0, 1], num_steps=8, generator=torch.Generator(model.device).manual_seed(0))
    parts = {"latents": drawn.latents, "geometry": drawn.geometry}
    rounded = {name: np.round(part.numpy(), 4).tolist() for name, part in parts.items() if part is not None}
    return {"drawn": rounded}


@torch.no_grad()
def _published_answer(tok: VisualTokenizer, entry: dict[str, Any], image: str | Path | None) -> Check:
    """Tokens that the authors printed: decoded always, and made of the picture if it is given."""
    what = f"published tokens of {entry['image']}"
    wanted = torch.tensor([entry["indices"]], device=tok.device)
    size = (tok.image_size, tok.image_size)
    tokens = Tokens(layout=tok.token_spec.layout, indices=wanted, levels=tok.quantizer.levels, extent=size)
    theirs = torch.tensor(entry["cells"]).permute(2, 0, 1)
    error = float((cells(tok.decode(tokens))[0].cpu() * 255 - theirs).abs().mean())
    said = f"decoded, they are {error:.2f} of 255 from the authors' picture, mean over {CELLS}x{CELLS} cells"
    ok = error <= CELL_ERROR
    if image is not None and _files.sha256_of(Path(image)) == entry["image_sha256"]:
        photo = images.to_tensor(images.open_image(Path(image)))[None].to(tok.device)
        share = float(torch.eq(tok.encode(photo).indices, wanted).float().mean())  # type: ignore[arg-type]
        said += f"; {share:.1%} of the {wanted.numel()} tokens are equal ({entry['note']})"
        ok = ok and share >= PUBLISHED_SHARE
    else:
        said += f"; to make them, give the picture: --image FILE ({entry['image_source']})"
    return Check("proven" if ok else "failed", what, f"{said}; source: {entry['source']}")


def published(full_name: str) -> list[dict[str, Any]]:
    """What authors printed of a model; see eval/known/README.md."""
    listed = json.loads((_files.data_folder("known") / "published.json").read_text())
    return [entry for entry in listed if entry["model"] == full_name]


@torch.no_grad()
def record(folder: Path) -> Path:
    """Writes known.json into a checkpoint's folder, for `verify` to compare with.

    Of a tokenizer its tokens of the packaged photo; of a generator tokens, and how likely it says that they are.
    """
    tok = hub.from_pretrained(folder)
    if isinstance(tok, Generator):
        drawn = _drawn_of(tok)
        known = {
            "weights_sha256": _files.sha256_of(folder / _finding.WEIGHTS),
            **drawn,
            "loss": _loss_of(tok, drawn),
        }
        write_atomically(folder / ANSWER, json.dumps(known) + "\n")
        return folder / ANSWER
    photo_file = _files.data_folder("known") / PHOTO
    photo = tok.preprocess(photo_file)
    tokens = tok.encode(photo)
    given = tokens.indices if tokens.latents is None else tokens.latents
    answer = {
        "photo_sha256": _files.sha256_of(photo_file),
        "weights_sha256": _files.sha256_of(folder / _finding.WEIGHTS),
        "psnr": round(float(psnr(tok.decode(tokens), photo)), 3),
        "tokens": np.round(given[0].numpy(), 5).tolist(),  # type: ignore[index]
    }
    write_atomically(folder / ANSWER, json.dumps(answer) + "\n")
    return folder / ANSWER


def _against(tokens: Tokens, wanted: Sequence[Any], bounds: Bounds) -> tuple[str, bool]:
    """What to say of tokens beside recorded ones, and whether they agree."""
    want = np.asarray(wanted)
    given = tokens.latents if tokens.indices is None else tokens.indices
    have = golden.as_array(given[0])  # type: ignore[index]
    if have.shape != want.shape:
        return f"tokens of shape {have.shape}, recorded {want.shape}", False
    if tokens.indices is None:
        error = relative_error(have, want)
        return f"latents {error:.1e} off", error <= bounds.error
    share = float((have == want).mean())
    return f"{int((have == want).sum())} of {want.size} indices equal", share >= bounds.share


def cells(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) -> means over (B, 3, CELLS, CELLS)."""
    return F.adaptive_avg_pool2d(pictures.float(), CELLS)


def _first_line(error: Exception) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def full_precision() -> Iterator[None]:
    """While open, CUDA multiplies float32 as float32: convolutions use TF32 unless told otherwise."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
