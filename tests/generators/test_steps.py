"""What makes a step cheap: room taken once, no word to the host, and one graph for all of them."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.generators.test_sampling import KINDS, made, some
from tokzoo.generators.conditions import Text
from tokzoo.generators.steps import replayed
from tokzoo.layers.causal import KvCache, PlacedCache


class ScalarsRead(TorchDispatchMode):
    """Counts how often the host waits for a number of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Recorder:
    """A backend that runs a graph as it is, and keeps what is said of each of its inputs."""

    def __init__(self) -> None:
        self.graphs: list[list[torch.fx.Node]] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]):
        self.graphs.append([node for node in graph.graph.nodes if node.op == "placeholder"])
        return graph


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_one_graph_makes_all_places_and_its_logits_are_those_without_a_cache(kind: str) -> None:
    torch._dynamo.reset()
    model, recorder = made(kind), Recorder()
    model.compile_steps(backend=recorder)
    indices, labels = some(model)
    condition = model.condition(labels)
    whole = model.logits(indices, condition)
    for start in (0, 4):
        ask = model.new_steps(len(indices), model.config.num_tokens)
        ask.caches[0].keys.fill_(torch.nan)  # what nobody wrote is not read
        for place in range(start, model.config.num_tokens):
            logits = ask(indices[:, :start] if place == start else indices[:, place - 1 : place], condition)
            torch.testing.assert_close(logits, whole[:, place], atol=1e-5, rtol=1e-5)
    (read,) = recorder.graphs
    assert all(isinstance(node.meta["example_value"], torch.Tensor) for node in read)  # no number of the host
    moving = [node.name for node in read if "_dynamo_static_input_type" not in node.meta["tensor_dict"]]
    assert moving and all(name.startswith(("l_fresh", "l_condition")) for name in moving)  # caches and place lie still


@torch.no_grad()
@pytest.mark.parametrize("kind", ["text", "rar", "codes"])
def test_compiled_steps_draw_the_same(kind: str) -> None:
    torch._dynamo.reset()
    model = made(kind)
    _, labels = some(model)
    eager = model.sample(labels, guidance=2.0, generator=torch.Generator().manual_seed(0))
    model.compile_steps(backend="eager")
    for _ in range(2):
        compiled = model.sample(labels, guidance=2.0, generator=torch.Generator().manual_seed(0))
        assert torch.equal(compiled.indices, eager.indices)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_asks_no_number_and_no_tensor_of_another_device(kind: str) -> None:
    model = made(kind).to("meta")  # where nothing has a value, and no tensor of the CPU may come in
    condition = some(model)[1]
    condition = Text(*(part.to("meta") for part in condition)) if kind == "text" else condition.to("meta")
    place = torch.zeros(1, dtype=torch.int64, device="meta")
    caches = [PlacedCache(cache, place) for cache in model.new_caches(3, 6)]
    logits = model.step(torch.zeros(3, 1, dtype=torch.int64, device="meta"), condition, caches)
    assert logits.shape == (3, model.config.codebook_size)


@torch.no_grad()
def test_what_a_graph_gives_is_copied_before_the_next_replay() -> None:
    memory = torch.zeros(2)
    first, second = (replayed(lambda value: memory.fill_(value), value) for value in (1, 2))
    assert first.tolist() == [1, 1] and second.tolist() == [2, 2]


@torch.no_grad()
def test_caches_of_the_last_sizes_are_kept_and_what_was_broken_is_forgotten() -> None:
    torch._dynamo.reset()
    model = made("row")
    model.compile_steps(backend="eager")
    with torch.inference_mode():
        expected = model.sample([1, 2], temperature=0)
    memory = model.new_steps(2, 6).caches[0].keys.data_ptr()
    for cache in model.new_steps(2, 6).caches:
        cache.values.fill_(torch.nan)
    assert torch.equal(model.sample([1, 2], temperature=0).indices, expected.indices)
    assert model.new_steps(2, 6).caches[0].keys.data_ptr() == memory
    assert torch.equal(model.sample([2], num_tokens=3, temperature=0).indices, expected.indices[1:, :3])


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "text", "rar"])
def test_inductor_makes_one_graph_that_draws_the_same(kind: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = made(kind)
    _, labels = some(model)
    eager = model.sample(labels, guidance=2.0, generator=torch.Generator().manual_seed(0))
    model.compile_steps(mode="reduce-overhead")
    compiled = model.sample(labels, guidance=2.0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(compiled.indices, eager.indices)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "rar", "codes"])
def test_weights_of_eight_bits_change_logits_little(kind: str) -> None:
    torchao = pytest.importorskip("torchao.quantization")
    model = made(kind)
    indices, labels = some(model)
    before = model.logits(indices, model.condition(labels))
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    after = model.logits(indices, model.condition(labels))
    assert 0 < (after - before).abs().max() < 0.05 * before.abs().max()
    assert model.sample(labels, temperature=0).indices.shape == indices.shape


@torch.no_grad()
def test_the_host_waits_as_often_for_few_tokens_as_for_many() -> None:
    model = made("row")
    waits = []
    for length in (2, 6):
        with ScalarsRead() as read:
            model.sample([1, 2], num_tokens=length, guidance=2.0, top_k=5, top_p=0.9)
        waits.append(read.count)
    assert waits[0] == waits[1] <= 3


def test_a_full_cache_says_so() -> None:
    cache = KvCache(1, 2, 3, 4, torch.zeros(1))
    cache.append(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match="the cache holds 3 tokens; 4 were to be kept"):
        cache.append(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4))
