"""One step after another, eager, or as a graph that is compiled once for all places. B batch, V ids of a word."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tokzoo.generators.conditions import Condition
from tokzoo.layers.causal import KvCache, PlacedCache

Ask = Callable[..., Tensor]  # (fresh ids (B, n), condition, caches, ...) -> logits, or what becomes logits


class Steps:
    """The steps of one sampling: what has been read is in the caches."""

    def __init__(self, ask: Ask, caches: list[KvCache]):
        self.ask, self.caches = ask, caches

    def __call__(self, fresh: Tensor, condition: Condition, **where: Any) -> Tensor:
        """Ids (B, n) that no step has read yet: the first ones, then one by one."""
        return self.ask(fresh, condition, self.caches, **where)


class CompiledSteps(Steps):
    """The same, of which all but the first are one graph: the place of a word is a tensor on the device.

    A CUDA graph reads and writes the memory that it was recorded on: the caches are made once, marked as lying still,
    and emptied for the next sampling; what a step gives is copied out of memory that the next one writes.

    Args:
        ask: eager, for the first step, of the condition and all that is given.
        compiled: the same function, compiled.
        make: new caches.
    """

    def __init__(self, ask: Ask, compiled: Ask, make: Callable[[], list[KvCache]]):
        with torch.inference_mode(False):  # else no later sampling outside of that mode could write to them
            super().__init__(ask, make())
            self.place = torch.zeros(1, dtype=torch.int64, device=self.caches[0].keys.device)
        self.compiled = compiled
        self.placed = [PlacedCache(cache, self.place) for cache in self.caches]
        for tensor in [self.place, *(held for cache in self.caches for held in (cache.keys, cache.values))]:
            torch._dynamo.mark_static_address(tensor)

    def empty(self) -> "CompiledSteps":
        """Itself, with nothing read yet; of what attention reads, nothing is left that is not finite."""
        for cache in self.caches:
            cache.used = 0
            cache.values.zero_()
        return self

    def __call__(self, fresh: Tensor, condition: Condition, **where: Any) -> Tensor:
        if self.caches[0].empty:
            said = super().__call__(fresh, condition, **where)
            self.place.fill_(self.caches[0].used)
            return said
        fresh = fresh.clone(memory_format=torch.contiguous_format)  # a view of the same form each time
        said = replayed(self.compiled, fresh, condition, self.placed, **where)
        self.place += 1
        return said


def replayed(compiled: Ask, *read: Any, **where: Any) -> Tensor:
    """What a compiled function gives, in memory of its own: a CUDA graph writes the same at each replay."""
    torch.compiler.cudagraph_mark_step_begin()
    return compiled(*read, **where).clone()
