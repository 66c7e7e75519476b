"""What makes a step cheap: room taken once, no word to the host, and one graph for all of them."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from tests.generators.test_sampling import made, some
from tokzoo.layers.causal import KvCache


class ScalarsRead(TorchDispatchMode):
    """Counts how often the host waits for a number of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "ibq", "rar"])
def test_a_step_compiles_whole_and_once_for_all_places(kind: str) -> None:
    torch._dynamo.reset()
    model = made(kind)
    indices, labels = some(model)
    condition = model.condition(labels)
    whole, length = model.logits(indices, condition), model.config.num_tokens
    caches = model.new_caches(len(indices), length)
    model.next_logits(indices[:, :0], condition, caches)
    counter = CompileCounter()
    step = torch.compile(model.next_logits, backend=counter, fullgraph=True)
    for place in range(1, length):
        logits = step(indices[:, place - 1 : place].clone(), condition, caches)
        torch.testing.assert_close(logits, whole[:, place], atol=1e-5, rtol=1e-5)
    assert counter.frame_count <= 2  # one that knows the first place as a number, and one for all others


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "text", "rar"])
def test_compiled_steps_draw_the_same(kind: str) -> None:
    torch._dynamo.reset()
    model = made(kind)
    _, labels = some(model)
    eager = model.sample(labels, guidance=2.0, generator=torch.Generator().manual_seed(0))
    counter = CompileCounter()
    model.compile_steps(backend=counter)
    for _ in range(2):
        compiled = model.sample(labels, guidance=2.0, generator=torch.Generator().manual_seed(0))
        assert torch.equal(compiled.indices, eager.indices)
    assert 1 <= counter.frame_count <= 3


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
