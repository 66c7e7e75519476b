"""ONNX files of a tokenizer's halves, checked against onnxruntime. B batch, L tokens, D codes a token, C channels."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tokzoo._files import replace_atomically
from tokzoo.conditions import noise_for
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

Half = Literal["encoder", "decoder"]
TRACED, CHECKED = 2, 3  # batch sizes: the graph is made with one and run with another
PIXEL_TOLERANCE = 1e-3  # of images in [0, 1]
LATENT_TOLERANCE = 1e-3  # relative to the latents' norm
INDEX_SHARE = 0.99  # equal indices; a near-tie may fall the other way


class EncodeGraph(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> indices (B, L) or (B, L, D), or latents (B, L, C) of a continuous tokenizer.

    Args:
        names: of the conditions that it takes beside the images, in order.
    """

    def __init__(self, tok: VisualTokenizer, names: Sequence[str] = ()):
        super().__init__()
        self.tok, self.names = tok, names

    def forward(self, images: Tensor, *conditions: Tensor) -> Tensor:
        given: dict[str, Any] = dict(zip(self.names, conditions, strict=True))
        tokens = self.tok.encode(images, **given)
        return tokens.latents if tokens.indices is None else tokens.indices  # type: ignore[return-value]


class DecodeGraph(nn.Module):
    """What `EncodeGraph` gives, and conditions by `names` -> images (B, 3, H, W) in [0, 1]."""

    def __init__(self, tok: VisualTokenizer, like: Tokens, names: Sequence[str] = ()):
        super().__init__()
        self.tok, self.names = tok, names
        self.like = like

    def forward(self, tokens: Tensor, *conditions: Tensor) -> Tensor:
        given: dict[str, Any] = dict(zip(self.names, conditions, strict=True))
        indices, latents = (None, tokens) if self.like.indices is None else (tokens, None)
        return self.tok.decode(
            Tokens(
                layout=self.like.layout,
                indices=indices,
                latents=latents,
                levels=self.like.levels,
                extent=self.like.extent,
            ),
            **given,
        )


@dataclass(frozen=True)
class Exported:
    """One written file, and how onnxruntime's numbers stand to torch's at another batch size than it was made with."""

    half: Half
    file: Path
    difference: str
    ok: bool

    def __str__(self) -> str:
        verdict = "equal" if self.ok else "NOT EQUAL"
        return f"{self.half} {self.file} ({self.file.stat().st_size:,} bytes): {verdict}: {self.difference}"


def export_onnx(tok: VisualTokenizer, folder: str | Path, *, opset: int = 20) -> list[Exported]:
    """Writes encoder.onnx and decoder.onnx into `folder`; batch is dynamic, the image size is `tok.image_size`.

    The encoder gives indices, or the latents of a continuous tokenizer; the decoder takes the same. What else they
    need, such as the features of a text, is an input under its name in `tok.conditions`. Each file is run by
    onnxruntime and compared with torch.

    Raises:
        ImportError: without tokzoo[export].
        ValueError: tokens with a geometry or of varying number, which one array does not hold.
        RuntimeError: torch cannot turn the model into a graph; the message has its reason.
    """
    runtime = _onnxruntime()
    tok = tok.eval()
    images = torch.rand(CHECKED, 3, tok.image_size, tok.image_size, generator=torch.Generator().manual_seed(0))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tok = tok.to("cpu", torch.float32)
    noise = noise_for(tok.conditions, CHECKED)  # any values do: what makes them is no part of the graphs
    read: dict[str, dict[str, Any]] = {
        half: {name: value for name, value in noise.items() if half in tok.conditions[name].parts}
        for half in ("encode", "decode")
    }
    first, second = read["encode"], read["decode"]
    with torch.inference_mode():
        tokens = tok.encode(images, **first)
    if tokens.geometry is not None or tokens.valid is not None:
        raise ValueError(
            "tokens with a geometry, or of which only some count, are more than one array: no ONNX of them"
        )
    given: Tensor = tokens.latents if tokens.indices is None else tokens.indices  # type: ignore[assignment]
    with torch.no_grad():
        into, out_of = {"images": images, **first}, {"tokens": given, **second}
        encoder = _write(EncodeGraph(tok, [*first]), into, folder / "encoder.onnx", "tokens", opset)
        decoder = _write(DecodeGraph(tok, tokens, [*second]), out_of, folder / "decoder.onnx", "images", opset)
        made = tok.decode(tokens, **second)
    found = _run(runtime, encoder, into)
    painted = _run(runtime, decoder, out_of)
    token_difference, token_ok = _tokens_differ(found, given)
    worst = float(np.abs(painted - made.numpy()).max())
    return [
        Exported("encoder", encoder, token_difference, token_ok),
        Exported("decoder", decoder, f"images differ by at most {worst:.2g}", worst <= PIXEL_TOLERANCE),
    ]


def _write(graph: nn.Module, example: Mapping[str, Tensor], file: Path, made: str, opset: int) -> Path:
    """One graph to one file, weights inside it. `example`: its inputs by name; `made`: the name of what it gives."""
    batch = torch.export.Dim("batch", min=1)
    first, *others = (value[:TRACED].clone() for value in example.values())
    shapes = ({0: batch}, tuple({0: batch} for _ in others)) if others else ({0: batch},)
    with _quiet():
        try:
            # strict: len(images) in a model stays symbolic, where the other way of tracing fixes the batch
            traced = torch.export.export(graph.eval(), (first, *others), dynamic_shapes=shapes, strict=True)
            program = torch.onnx.export(
                traced, input_names=[*example], output_names=[made], opset_version=opset, dynamo=True, verbose=False
            )
        except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise RuntimeError(f"torch makes no ONNX graph of this {file.stem}: {reason}") from error
        with replace_atomically(file) as temporary:
            program.save(temporary)  # type: ignore[union-attr]
    return file


def _run(runtime: ModuleType, file: Path, given: Mapping[str, Tensor]) -> np.ndarray:
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    return np.asarray(made)


def _tokens_differ(found: np.ndarray, wanted: Tensor) -> tuple[str, bool]:
    """What to say of tokens, and whether they are equal enough."""
    want = wanted.numpy()
    if np.issubdtype(want.dtype, np.integer):
        share = float((found == want).mean())
        return f"{share:.1%} of {want.size} indices equal", share >= INDEX_SHARE
    error = float(np.linalg.norm(found - want) / np.linalg.norm(want))
    return f"latents differ by {error:.2g} of their norm", error <= LATENT_TOLERANCE


def _onnxruntime() -> ModuleType:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"exporting to ONNX needs {error.name}: pip install 'tokzoo[export]'") from error
    module: ModuleType = onnxruntime
    return module


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of each of its passes; what it cannot do it raises."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
