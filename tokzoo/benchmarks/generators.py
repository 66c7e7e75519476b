"""Tokens a second: GPT-B as LlamaGen has it, beside the authors' own sampler, and how near to what memory allows.

A token costs a read of all weights and of the cache; how fast bytes move is measured by a copy, read and written.
"""

import copy
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokzoo.benchmarks.micro import OURS, Comparison
from tokzoo.benchmarks.timing import interleaved, trusted
from tokzoo.generators.gpt.config import GptConfig, on_grid
from tokzoo.generators.gpt.model import Gpt
from tokzoo.generators.gpt.weights import convert

AUTHORS = "LLAMAGEN"  # environment variable: a folder with FoundationVision/LlamaGen, which is no package
SIDE, GUIDANCE = 8, 2.0  # 64 tokens; what a token costs hardly depends on how many follow
BATCHES = (1, 4)
EARLY, LATE = 64, 1024
COPIED = 2**26  # numbers, of 4 bytes


def compare(*, device: str = "cpu", rounds: int = 5, batches: tuple[int, ...] = BATCHES) -> list[Comparison]:
    """One comparison per batch, and one of a late token beside an early one."""
    model = speaking(on_grid("b", SIDE)).to(device)
    found = [sampling(model, batch, device=device, rounds=rounds) for batch in batches]
    return [*found, lateness(device=device, rounds=rounds)]


def sampling(model: Gpt, batch: int, *, device: str, rounds: int) -> Comparison:
    """Whole samples, guided, of `batch` labels; the authors' with the same weights, where they are at hand."""
    labels = torch.arange(batch, device=device)
    calls: dict[str, Callable[[], object]] = {OURS: lambda: model.sample(labels, guidance=GUIDANCE)}
    note = ""
    if (theirs := authors_sampler(model)) is not None:
        calls["LlamaGen"] = lambda: theirs(labels, True)
        if batch == BATCHES[0]:
            likeliest = model.sample(labels, guidance=GUIDANCE, temperature=0).indices
            assert likeliest is not None
            note = f"; {int((theirs(labels, False) != likeliest).sum())} of {likeliest.numel()} greedy tokens differ"
    with torch.no_grad():
        timings = interleaved(calls, rounds=rounds, device=device, memory=False)
    count = model.config.num_tokens
    moved = bytes_of_token(model, 2 * batch, count // 2)
    share = moved / copy_bandwidth(device) / (trusted(timings[OURS], device) / count)
    each = ", ".join(f"{name} {count / trusted(timing, device):.2f}" for name, timing in timings.items())
    return Comparison(
        setting=f"GPT-B, {str(model.dtype).removeprefix('torch.')}, batch {batch}, guided, {count} tokens",
        timings=timings,
        note=f"tokens a second and sample: {each}; {100 * share:.0f} % of the copy bound{note}",
    )


def forms(
    config: GptConfig, batch: int, *, device: str, rounds: int, dtype: torch.dtype = torch.bfloat16
) -> Comparison:
    """Whole samples, guided, of `batch` labels: compiled steps, beside eager ones, 8-bit weights, and the authors'.

    8-bit weights are torchao's, and left out where it is not.
    """
    eager = speaking(config).to(device, dtype)
    models = {OURS: copy.deepcopy(eager), "eager": eager}
    if importlib.util.find_spec("torchao") is not None:
        models["8 bits"] = in_eight_bits(copy.deepcopy(eager))
    for name in models.keys() - {"eager"}:
        # 8 bits become numbers inside of a product only where templates are tried; else all weights are written out
        templates = name == "8 bits" and torch.device(device).type != "cpu"
        models[name].compile_steps(mode="max-autotune" if templates else "reduce-overhead")
    labels = torch.arange(batch, device=device) % config.num_classes
    calls: dict[str, Callable[[], object]] = {
        name: lambda model=model: model.sample(labels, guidance=GUIDANCE)  # type: ignore[misc]
        for name, model in models.items()
    }
    if (theirs := authors_sampler(eager)) is not None:
        calls["LlamaGen"] = lambda: theirs(labels, True)
    with torch.no_grad():
        timings = interleaved(calls, rounds=rounds, device=device, memory=False)
    count, bandwidth = config.num_tokens, copy_bandwidth(device)
    said = []
    for name, timing in timings.items():
        seconds = trusted(timing, device) / count
        share = bytes_of_token(models.get(name, eager), 2 * batch, count // 2) / bandwidth / seconds
        said.append(f"{name} {1 / seconds:.2f} ({100 * share:.0f} % of the copy bound)")
    size = sum(value.numel() for value in eager.parameters()) / 1e6
    return Comparison(
        setting=f"GPT of {size:.0f}M, {str(dtype).removeprefix('torch.')}, batch {batch}, guided, {count} tokens",
        timings=timings,
        note="tokens a second and sample: " + ", ".join(said),
    )


def in_eight_bits(model: Gpt) -> Gpt:
    """The weights of all linear maps in 8 bits, a scale for each row."""
    torchao = importlib.import_module("torchao.quantization")
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    return model


def lateness(size: str = "b", *, device: str, rounds: int) -> Comparison:
    """The time of token 1024 beside that of token 64, batch 1, with the same cache of 1024 places."""
    model = speaking(on_grid(size, 32)).to(device)
    labels = torch.zeros(1, dtype=torch.int64, device=device)
    caches = model.new_caches(1, LATE)
    for cache in caches:
        cache.keys.normal_()
        cache.values.normal_()
    fresh = torch.zeros(1, 1, dtype=torch.int64, device=device)

    def step(number: int) -> Callable[[], Tensor]:
        def call() -> Tensor:
            for cache in caches:
                cache.used = number - 1  # condition and tokens before the last one
            return model.next_logits(fresh, labels, caches)

        return call

    with torch.no_grad():
        timings = interleaved(
            {OURS: step(LATE), f"token {EARLY}": step(EARLY)}, rounds=5 * rounds, device=device, memory=False
        )
    late, early = (trusted(timings[name], device) for name in (OURS, f"token {EARLY}"))
    share = bytes_of_token(model, 1, LATE) / copy_bandwidth(device) / late
    return Comparison(
        setting=f"GPT-{size.upper()}, batch 1, unguided, token {LATE} beside token {EARLY}",
        timings=timings,
        note=f"it takes {late / early:.2f}x the time of token {EARLY}; {100 * share:.0f} % of the copy bound",
    )


def speaking(config: GptConfig) -> Gpt:
    """An untrained model of which the head says something."""
    torch.manual_seed(0)
    model = Gpt(config).eval().requires_grad_(False)
    torch.nn.init.normal_(model.head.weight, std=0.02)  # type: ignore[arg-type]
    return model


def bytes_of_token(model: Gpt, rows: int, seen: int) -> int:
    """That one step reads: weights, of tables one row, and the cache of `seen` tokens for each row of the batch."""
    tables = {id(model.embed.weight), id(model.condition_embed.weight)}
    weights = sum(stored_bytes(value) for value in model.parameters() if id(value) not in tables)
    config: GptConfig = model.config
    numbers = 2 * config.depth * config.width * (seen + config.condition_tokens) * rows
    return weights + numbers * model.embed.weight.element_size()  # type: ignore[operator]


def stored_bytes(tensor: Tensor) -> int:
    """Of its numbers, or of the tensors that it is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return tensor.numel() * tensor.element_size()
    names, _ = tensor.__tensor_flatten__()
    return sum(stored_bytes(getattr(tensor, name)) for name in names)


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a copy moves, read and written."""
    source = torch.randn(COPIED, device=device)
    target = torch.empty_like(source)
    timing = interleaved({OURS: lambda: target.copy_(source)}, rounds=5, device=device, memory=False)[OURS]
    return 2 * source.numel() * source.element_size() / trusted(timing, device)


# --- the authors' sampler --------------------------------------------------------------------------------------------


def authors_sampler(model: Gpt) -> Callable[[Tensor, bool], Tensor] | None:
    """Their model with the same tensors and their sampler, (labels, draw or take the likeliest) -> indices.

    None where the variable LLAMAGEN names no folder.
    """
    folder = os.environ.get(AUTHORS)
    if folder is None:
        return None
    sys.path.insert(0, str(Path(folder)))
    try:
        parts = importlib.import_module("autoregressive.models.gpt")
        sampler = importlib.import_module("autoregressive.models.generate")
    finally:
        sys.path.remove(str(Path(folder)))
    config: GptConfig = model.config
    theirs = parts.Transformer(
        parts.ModelArgs(
            dim=config.width,
            n_layer=config.depth,
            n_head=config.num_heads,
            vocab_size=config.codebook_size,
            block_size=config.num_tokens,
        )
    ).eval()
    ours = model.state_dict()
    names = {key: next(iter(convert({key: value}, config))) for key, value in theirs.state_dict().items()}
    theirs.load_state_dict({key: ours[name] for key, name in names.items()}, assign=True)
    knobs: dict[str, Any] = dict(cfg_scale=GUIDANCE, temperature=1.0, top_k=0, top_p=1.0)

    def sample(labels: Tensor, drawn: bool) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a way to choose attention that torch will drop
            made: Tensor = sampler.generate(theirs, labels, config.num_tokens, sample_logits=drawn, **knobs)
        return made

    return sample
