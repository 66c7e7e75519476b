"""Images per second of tokenizers: encode and decode, by batch size, eager and compiled, beside a plain ViT."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from tokzoo import hub, registry
from tokzoo._torchvision import import_with_torchvision
from tokzoo.benchmarks.machine import check_device, machine
from tokzoo.benchmarks.timing import Timing, cpu_speedup, interleaved, speedup
from tokzoo.conditions import noise_for
from tokzoo.layers.transformer import TransformerBlock
from tokzoo.tokenizers.base import VisualTokenizer

TOKZOO, COMPILED, LATENTS, PLAIN = "tokzoo", "tokzoo compiled", "tokzoo latents", "timm ViT"


def bench(
    name: str,
    *,
    batches: Sequence[int] = (1, 8),
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    rounds: int = 5,
) -> dict[str, Any]:
    """Times encode and decode of a model under `torch.inference_mode`, on uniform noise.

    Weights are loaded if they are shipped or given as a folder; else the model is untrained, for times depend on
    shapes alone.

    Args:
        name: a registered name or a folder.
        batches: batch sizes.
        compiled: time `torch.compile` of both as well; the time to compile is not counted.
        rounds: each is timed so often, in turns; medians are given.

    Returns:
        a report that goes to JSON: the model, its rows by batch, machine, versions, date.
    """
    check_device(device)
    tok = _untrained(name).to(device=device, dtype=dtype).eval()
    plain = plain_vit(tok)
    if plain is not None:
        plain = plain.to(device=device, dtype=dtype)
    rows = [_row(tok, plain, batch, compiled, rounds) for batch in batches]
    return {
        "model": name,
        "what": f"medians of {rounds} rounds in turn, inference mode, uniform noise",
        "device": device,
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": sum(value.numel() for value in tok.parameters()),
        "image_size": tok.image_size,
        "rows": rows,
        "machine": machine(device),
    }


def plain_vit(tok: VisualTokenizer) -> nn.Module | None:
    """timm's ViT of the same width, depth, heads, patches and further tokens; None for an encoder of another kind.

    Queries become timm's register tokens, so that both run over sequences of one length.
    """
    encoder = tok.encoder
    blocks = [module for module in getattr(encoder, "blocks", ()) if isinstance(module, TransformerBlock)]
    patches = getattr(encoder, "patch_embed", None)
    if not blocks or not isinstance(patches, nn.Conv2d):
        return None
    vit = import_with_torchvision("timm.models.vision_transformer").VisionTransformer
    made: nn.Module = vit(
        img_size=tok.image_size,
        patch_size=patches.kernel_size[0],
        embed_dim=patches.out_channels,
        depth=len(blocks),
        num_heads=blocks[0].attn.num_heads,
        mlp_ratio=blocks[0].mlp.fc1.out_features / patches.out_channels,
        class_token=True,
        reg_tokens=getattr(encoder, "num_tokens", 0),
        num_classes=0,
        global_pool="",
    )
    return made.eval()


def describe(report: Mapping[str, Any]) -> list[str]:
    """A report as lines to print."""
    lines = [
        f"{report['model']}: {report['parameters'] / 1e6:.1f}M parameters, {report['image_size']} pixels a side, "
        f"{report['device']}, {report['dtype']}, {report['machine']['threads']} threads, {report['what']}"
    ]
    for row in report["rows"]:
        batch = f"  batch {row['batch']:3} "
        for step in ("encode", "decode"):
            for way, timing in row[step].items():
                peak = timing["peak_bytes"]
                memory = "" if peak is None else f"  {peak / 2**20:8.1f} MiB at most"
                lines.append(f"{batch} {step} {way:16} {row['batch'] / timing['seconds']:9.2f} images/s{memory}")
        for step in ("encode", "latents"):
            if f"{step}_over_timm_vit" in row:
                clock, processor = row[f"{step}_over_timm_vit"], row[f"{step}_over_timm_vit_cpu_time"]
                said = f"{clock:.2f} times as fast as the ViT, {processor:.2f} by processor time"
                lines.append(f"{batch} {step}: {said}")
    return lines


def _row(tok: VisualTokenizer, plain: nn.Module | None, batch: int, compiled: bool, rounds: int) -> dict[str, Any]:
    images = torch.rand(batch, 3, tok.image_size, tok.image_size, device=tok.device)
    noise = noise_for(tok.conditions, batch)  # conditions are computed elsewhere, and not timed
    given: dict[str, Any] = {name: value.to(tok.device, tok.dtype) for name, value in noise.items()}
    with torch.inference_mode():
        tokens = tok.encode(images, **given)
        encode: dict[str, Callable[[], object]] = {TOKZOO: lambda: tok.encode(images, **given)}
        decode: dict[str, Callable[[], object]] = {TOKZOO: lambda: tok.decode(tokens, **given)}
        if compiled:
            fast_encode, fast_decode = torch.compile(tok.encode), torch.compile(tok.decode)
            encode[COMPILED] = lambda: fast_encode(images, **given)
            decode[COMPILED] = lambda: fast_decode(tokens, **given)
        if plain is not None:
            cast = images.to(tok.dtype)
            encode[LATENTS] = lambda: tok.features(images, **given)  # a plain ViT looks nothing up in a codebook
            encode[PLAIN] = lambda: plain(cast)
        times = interleaved(encode, rounds=rounds, device=tok.device)
        row: dict[str, Any] = {
            "batch": batch,
            "encode": _as_data(times),
            "decode": _as_data(interleaved(decode, rounds=rounds, device=tok.device)),
        }
    if plain is not None:
        for step, way in (("encode", TOKZOO), ("latents", LATENTS)):
            row[f"{step}_over_timm_vit"] = speedup(times, way, PLAIN)
            row[f"{step}_over_timm_vit_cpu_time"] = cpu_speedup(times, way, PLAIN)
    return row


def _as_data(timings: Mapping[str, Timing]) -> dict[str, dict[str, Any]]:
    return {name: asdict(timing) for name, timing in timings.items()}


def _untrained(name: str) -> VisualTokenizer:
    """The model of `name` with the weights at hand or none: nothing is downloaded to time it."""
    stem = name.partition(".")[0]
    if stem not in registry.architectures():
        return hub.from_pretrained(name, local_files_only=True)
    _, weights = registry.find(name)
    if "." in name and weights is not None and weights.shipped:
        return hub.from_pretrained(name)
    return hub.create_model(stem)
