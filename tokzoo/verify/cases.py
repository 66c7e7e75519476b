"""Golden cases: numbers of the authors' code, on weights that need no download."""

import re
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tokzoo import golden
from tokzoo.golden import Case
from tokzoo.registry import Architecture
from tokzoo.verify.checks import HALF, Check, first_line, relative_error


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
        said = f"it does not run: {type(error).__name__}: {first_line(error)}"
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
