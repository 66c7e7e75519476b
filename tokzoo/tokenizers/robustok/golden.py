"""RobusTok's numbers under the names of its golden cases. The perturbation has a case of its own, of the quantizer."""

from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.tokenizers.robustok.weights import read_config
from tokzoo.tokenizers.xqgan.golden import numbers


def run(case: Case) -> dict[str, Tensor]:
    undisturbed = {"alpha": 0.0, "beta": 0.0, "delta": 1}
    return numbers(build(case, read_config({**case.config, **undisturbed})), case)
