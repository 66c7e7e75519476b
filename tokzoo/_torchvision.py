"""One door to torchvision (and timm, which imports it), open even when its wheel and torch's do not match."""

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)


def import_with_torchvision(name: str) -> ModuleType:
    """Imports `name` (torchvision, timm or what needs them) where a plain import may fail.

    The package index holds torchvision for CUDA only. Beside a CPU build of torch its operators cannot load, and the
    import then ends in "operator torchvision::nms does not exist", though transforms and models need none of them.
    Here the import goes on without these operators; calling one (nms, roi_align) still raises.
    """
    if "torchvision" not in sys.modules:
        with _without_torchvision_operators():
            importlib.import_module("torchvision")
    return importlib.import_module(name)


def operators_loaded() -> bool:
    """Whether torchvision's own operators are there, once it is imported: not where its wheel and torch's differ."""
    import torch

    return hasattr(torch.ops.torchvision, "nms")


@contextmanager
def _without_torchvision_operators() -> Iterator[None]:
    """While open, shape rules for torchvision operators that did not load are left out."""
    import torch

    register_fake = torch.library.register_fake

    def register_if_loaded(op: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if isinstance(op, str) and op.startswith("torchvision::"):
            namespace, _, operator = op.partition("::")
            if not hasattr(getattr(torch.ops, namespace), operator):
                logger.debug("%s is not in this build of torchvision", op)
                return lambda rule: rule
        return register_fake(op, *args, **kwargs)

    torch.library.register_fake = register_if_loaded  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.library.register_fake = register_fake
