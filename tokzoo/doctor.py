"""What this installation is, and whether the device computes rightly: versions, extras, cache, golden cases.

A driver that computes wrongly is named down to the first module whose numbers differ from the CPU's.
"""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from tokzoo import _torchvision, golden
from tokzoo.benchmarks.machine import accelerator_name, accelerators, check_device, installed, machine
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.verify.cases import check_case
from tokzoo.verify.checks import Check, full_precision, relative_error

CASES = ("titok_vq_single_tiny", "maskgit_vqgan_tiny")  # a transformer and a convolutional network, both small
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
PARTS = (  # which part of a tokenizer a recorded array is of, by its name
    ("codes", r"indices|z_q|bits|quantized|kept"),
    ("pixels", r"recon.*|reconstruction.*|.*logits.*"),
    ("latents", r".*"),
)
DIFFERS = 1e-3  # relative error of a module's output in float32 that no order of summation explains

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    level: Level
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.level:5}  {self.what}: {self.detail}"


def diagnose(device: str = "cpu") -> list[Finding]:
    """Everything worth knowing of this installation and this device.

    Raises:
        ValueError: no such device here.
    """
    check_device(device)
    return [
        *_versions(device),
        torchvision_fit(),
        _cache(),
        *extras(),
        *[finding for name in CASES for finding in device_findings(name, device)],
    ]


# --- the installation ------------------------------------------------------------------------------------------------


def _versions(device: str) -> list[Finding]:
    about = machine(device)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    others = [kind for kind in accelerators() if kind != torch.device(device).type]
    also = f"; also here: {', '.join(others)} (--device)" if others else ""
    name = accelerator_name(device)
    return [
        Finding("ok", "versions", f"{versions}, python {about['python']}, {about['system']}"),
        Finding("ok", "processor", f"{about['processor']}, {about['cores']} cores, {about['threads']} threads"),
        Finding("ok", "device", f"{device}{f', {name}' if name else ''}{also}"),
    ]


def torchvision_fit() -> Finding:
    """Whether torchvision's operators load beside this torch; without them nms and roi_align raise."""
    what, have = "torchvision", f"{installed('torchvision')} beside torch {torch.__version__}"
    try:
        _torchvision.import_with_torchvision("torchvision")
    except Exception as error:  # a broken wheel may raise anything
        return Finding("wrong", what, f"{have} does not import: {type(error).__name__}: {error}")
    if _torchvision.operators_loaded():
        return Finding("ok", what, f"{have}, its operators load")
    return Finding(
        "note",
        what,
        f"{have}: its operators do not load, since it was built for another torch (CPU and CUDA builds do not mix). "
        "tokzoo works without them; for nms or roi_align install both from the same index",
    )


def _cache() -> Finding:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    held = len(list(folder.glob("models--*"))) if folder.is_dir() else 0
    offline = ", HF_HUB_OFFLINE is set: nothing is downloaded" if constants.HF_HUB_OFFLINE else ""
    return Finding("ok", "hub cache", f"{folder}, {held} models{offline}")


def extras(package: str = "tokzoo") -> list[Finding]:
    """The optional parts of a package: installed, or what is missing and how to install it."""
    try:
        listed = requires(package) or []
    except PackageNotFoundError:
        return [Finding("note", "extras", f"{package} is not installed as a package: pip install -e . in its folder")]
    wanted: dict[str, list[str]] = {}
    for line in listed:
        if match := re.match(r"([\w.-]+).*extra\s*==\s*['\"]([\w-]+)['\"]", line):
            wanted.setdefault(match[2], []).append(match[1])
    found = []
    for extra, packages in wanted.items():
        if package in packages or extra in {"dev", "all"}:  # what only gathers others
            continue
        missing = sorted({name for name in packages if installed(name) is None})
        lacks = f"lacks {', '.join(missing)}: pip install '{package}[{extra}]'"
        found.append(Finding("note" if missing else "ok", f"{package}[{extra}]", lacks if missing else "installed"))
    return found


# --- the device ------------------------------------------------------------------------------------------------------


def device_findings(name: str, device: str) -> list[Finding]:
    """One golden case on a device in float32, bfloat16 and float16; where float32 is wrong, the module it starts at."""
    case = golden.read_case(golden.folder() / f"{name}.json")
    found = []
    for dtype in DTYPES:
        with full_precision():
            check = check_case(replace(case, device=device, dtype=dtype))
        what = f"{name} in {str(dtype).removeprefix('torch.')} on {device}"
        if check.outcome == "proven":
            found.append(Finding("ok", what, check.detail))
            continue
        found.append(Finding("wrong", what, f"{_part(check)}{check.detail}"))
        if dtype == torch.float32 and torch.device(device).type != "cpu":
            found.append(Finding("wrong", "where it starts", _where(case, device)))
    return found


def _part(check: Check) -> str:
    """Which part of the tokenizer the first array that differs belongs to."""
    match = re.search(r"first at ([\w.]+):", check.detail)
    return f"the {part_of(match[1])} differ; " if match else ""


def part_of(array: str) -> str:
    """`latents`, `codes` or `pixels`: what a recorded array of this name is of."""
    return next(part for part, pattern in PARTS if re.fullmatch(pattern, array))


def _where(case: golden.Case, device: str) -> str:
    """Runs the case's model on both sides and compares module by module."""
    case = replace(case, built=[])
    with torch.no_grad():
        golden.run_case(case)
    model, size = case.built[0], case.built[0].image_size
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    first = first_difference(model, copy.deepcopy(model).to(device), images)
    return first or "no module alone differs: it is what lies between them (attention products, resizing, lookup)"


@torch.no_grad()
def first_difference(reference: VisualTokenizer, suspect: VisualTokenizer, images: Tensor) -> str | None:
    """The first module, in order of computation, whose output differs from the reference's; None if none does.

    Both encode and decode the same images; the suspect decodes the reference's tokens, so that a wrong encoder does not
    speak for the decoder.
    """
    tokens = reference.encode(images)
    steps: list[Callable[[VisualTokenizer], object]] = [
        lambda tok: tok.encode(images.to(tok.device)),
        lambda tok: tok.decode(tokens.to(tok.device)),
    ]
    wanted = [output for step in steps for output in _outputs(reference, step)]
    given = [output for step in steps for output in _outputs(suspect, step)]
    for (name, want), (_, have) in zip(wanted, given, strict=True):
        error = relative_error(have.numpy(), want.numpy())
        if not error <= DIFFERS:
            kind = type(suspect.get_submodule(name)).__name__
            return f"{name} ({kind}) is {error:.1e} off; what came before it is right"
    return None


def _outputs(model: VisualTokenizer, step: Callable[[VisualTokenizer], object]) -> list[tuple[str, Tensor]]:
    """What each module returned during a step, in order of their ends, so leaves come first."""
    seen: list[tuple[str, Tensor]] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def note(_module: nn.Module, _given: object, made: object) -> None:
            if isinstance(made, Tensor):
                seen.append((name, made.detach().cpu().float()))

        return note

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        step(model)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def summary(findings: Sequence[Finding]) -> str:
    """One line over all."""
    wrong = [finding for finding in findings if finding.level == "wrong"]
    return f"{len(wrong)} things are wrong" if len(wrong) > 1 else "one thing is wrong" if wrong else "nothing is wrong"
