"""From a published state dict to ours: rules read top to bottom; a key is read, dropped on purpose, or refused."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Rules = Sequence[tuple[str, str | None]]  # (pattern of the published key, our key or None to drop it)


def rename_keys(state: Mapping[str, "Tensor"], rules: Rules) -> dict[str, "Tensor"]:
    """Renames each key by the first rule that matches all of it; `None` drops it.

    Raises:
        KeyError: keys that no rule reads, up to ten of them, or two keys with one new name.
    """
    renamed: dict[str, Tensor] = {}
    unread = []
    for key, tensor in state.items():
        for pattern, template in rules:
            if match := re.fullmatch(pattern, key):
                if template is not None:
                    ours = match.expand(template)
                    if ours in renamed:
                        raise KeyError(f"two checkpoint keys are read as {ours!r}; the second is {key!r}")
                    renamed[ours] = tensor
                break
        else:
            unread.append(f"{key} {tuple(tensor.shape)}")
    if unread:
        more = f" and {len(unread) - 10} more" if len(unread) > 10 else ""
        raise KeyError(f"no rule reads {len(unread)} checkpoint keys: {', '.join(unread[:10])}{more}")
    return renamed


def under(state: Mapping[str, "Tensor"], prefix: str) -> dict[str, "Tensor"]:
    """What lies under `prefix`, named without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def use_average(state: Mapping[str, "Tensor"], prefix: str = "model_ema.") -> dict[str, "Tensor"]:
    """The plain keys of a Lightning checkpoint with the values of its moving average, which authors evaluate.

    The average lies under `prefix` and the key without its dots; what has none keeps its value.
    """
    averages = under(state, prefix)
    plain = {key: value for key, value in state.items() if not key.startswith(prefix)}
    return {key: averages.get(key.replace(".", ""), value) for key, value in plain.items()}
