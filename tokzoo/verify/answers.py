"""Known answers: what weights gave when they were recorded here, and what authors printed of theirs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo import _files, _finding, golden, hub, images
from tokzoo._files import write_atomically
from tokzoo.generators.base import Generator
from tokzoo.losses.reconstruction import psnr
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens
from tokzoo.verify.checks import HALF, Bounds, Check, relative_error

PHOTO, ANSWER = "photo.png", "known.json"
RECORDED = "recorded answer"
CELLS = 8  # per side, over which pictures are averaged before they are compared
SHARE = 0.97  # of a known answer's indices in float32: other processors add in another order
PUBLISHED_SHARE = 0.9  # of indices that authors printed: theirs were made with TF32 products
CELL_ERROR = 2.0  # of 255, mean over cells
PSNR_SLACK = 0.1  # dB, against a recorded score


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
def recorded_answer(tok: VisualTokenizer, full_name: str) -> Check:
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
    said, ok = against(tokens, want["tokens"], bounds)
    ok = ok and (tok.dtype != torch.float32 or abs(score - want["psnr"]) <= PSNR_SLACK)
    said = f"sha256 of the file as recorded; {said}; {score:.2f} dB, recorded {want['psnr']:.2f}"
    return Check("proven" if ok else "failed", RECORDED, said)


@torch.no_grad()
def drawn_answer(model: Generator, full_name: str) -> Check:
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
        drawn = {name: torch.tensor(value) for name, value in recorded["drawn"].items()}
        tokens = Tokens(layout=model.layout, latents=drawn.get("latents"), geometry=drawn.get("geometry"))
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
def published_answer(tok: VisualTokenizer, entry: dict[str, Any], image: str | Path | None) -> Check:
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


def against(tokens: Tokens, wanted: Sequence[Any], bounds: Bounds) -> tuple[str, bool]:
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
