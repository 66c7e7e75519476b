"""What is known of a model, in words: for `tokzoo info` and for the model cards of pushed weights."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokzoo import _files, _finding, hub, registry
from tokzoo.registry import Architecture, Source, Weights

if TYPE_CHECKING:
    from torch import nn

    from tokzoo.tokenizers.base import VisualTokenizer
    from tokzoo.tokens import TokenSpec

CHECKED = {
    "config": "the sizes build; neither the published file nor its names and shapes were seen",
    "manifest": "names and shapes of the published state dict, and golden cases on generated weights; "
    "the published file itself was never loaded",
    "weights": "the real file was loaded and scored",
}
CARD_LICENCES = (*registry.FREE_LICENCES, "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0")  # the hub's own names


def describe(name: str) -> str:
    """Tokens, sizes and every set of weights of a registered model; of one set only, if `name` has its tag.

    Raises:
        KeyError: no such model or weights.
    """
    architecture, first = registry.find(name)
    shown = (first,) if first and "." in name else architecture.weights
    config = _config(architecture, first)
    lines = [
        f"{architecture.name}: {architecture.modality} {architecture.kind}, {architecture.token_type} tokens",
        f"  paper       arXiv:{architecture.paper}, {architecture.published_as}",
        *_sizes(architecture, config),
        *textwrap.wrap(f"config      {_fields(asdict(config))}", 110, initial_indent="  ", subsequent_indent=" " * 14),
    ]
    for weights in shown:
        lines += ["", *_weights(architecture, weights)]
    if not shown:
        lines += ["", f'no weights; untrained: tokzoo.create_model("{architecture.name}")']
    return "\n".join(lines)


def model_card(model: Any, repo: str, *, licence: str | None = None) -> str:
    """A README.md for a pushed tokenizer or generator; its author should add what it learned from and how it scores."""
    architecture = hub.architecture_of(model)
    origin = _registered_weights(architecture, model.name)
    licence = licence or (origin.licence if origin else None)
    tags = [f"visual-{architecture.kind}", architecture.family, architecture.modality]
    made_of = f" Made from the weights `{model.name}`." if origin else ""
    terms = licence or "not stated. Name it above before others use these weights"
    facts, use = (_of_generator if architecture.kind == "generator" else _of_tokenizer)(model, repo)
    facts += [f"parameters: {_parameters(model)}", f"licence: {terms}"]
    return (
        f"---\nlibrary_name: tokzoo\n{_licence_fields(licence)}"
        f"tags: [{', '.join([*tags, f'{architecture.token_type}-tokens'])}]\n---\n\n"
        f"# {repo}\n\n"
        f"{architecture.published_as}, arXiv:{architecture.paper}, saved by tokzoo.{made_of}\n\n"
        f"{''.join(f'- {fact}{chr(10)}' for fact in facts)}\n"
        f"```python\nimport tokzoo\n\n{use}```\n"
    )


def _of_tokenizer(tok: "VisualTokenizer", repo: str) -> tuple[list[str], str]:
    """Facts, and lines of code that use it."""
    facts = [f"tokens: {tokens_in_words(tok.token_spec)}", f"images: {_image_sizes(tok)}"]
    use = (
        f'tok = tokzoo.from_pretrained("{repo}")\n'
        'tokens = tok.encode(tok.preprocess("photo.jpg"))\nimages = tok.decode(tokens)\n'
    )
    return facts + [f"needs {need}" for need in _needs(tok)], use


def _of_generator(model: Any, repo: str) -> tuple[list[str], str]:
    tokenizer = model.tokenizer or "not stated; say tokenizer= to tokzoo.pipeline"
    facts = [f"makes the tokens of: {tokenizer}", f"classes: {', '.join(model.classes) or model.config.num_classes}"]
    use = f'pipe = tokzoo.pipeline("{repo}")\nimages = pipe(labels=[0, 1], num_samples=4, seed=0)\n'
    return facts, use


def tokens_in_words(spec: "TokenSpec") -> str:
    """How many tokens, what one is, and what a sample costs in bits."""
    (least, most), full = spec.lengths, spec.layout.num_tokens
    many = f"{full or most}"
    if type(spec.layout).__name__ == "Sequence" and least != most:
        many += f" ({'any prefix of ' if spec.ordered else ''}{least} to {most} decode)"
    if spec.levels is None:
        return f"{many}, continuous, {spec.channels} channels each; layout {spec.layout}"
    slots = f"1 of {spec.levels[0]}" if len(spec.levels) == 1 else f"{len(spec.levels)} codes of {_runs(spec.levels)}"
    bits = f"{(full or most) * (spec.bits_per_token or 0):,.1f}".removesuffix(".0")
    return f"{many}, each {slots}: {bits} bits; layout {spec.layout}"


def _runs(levels: tuple[int, ...]) -> str:
    return f"{levels[0]} values" if len(set(levels)) == 1 else f"{', '.join(map(str, levels))} values"


def _config(architecture: Architecture, weights: Weights | None) -> Any:
    """That of shipped weights is the one that lies beside them."""
    if weights is None or not weights.shipped:
        return architecture.config
    return registry.override(architecture.config, _described(architecture.full_name(weights))["config"])


def _described(shipped: str) -> dict[str, Any]:
    """The config.json of shipped weights."""
    file = _files.data_folder("checkpoints") / shipped / _finding.CONFIG
    described: dict[str, Any] = json.loads(file.read_text())
    return described


def _fields(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} ({_fields(value)})" if isinstance(value, Mapping) else f"{key} {_short(value)}"
        for key, value in values.items()
    )


def _short(value: Any) -> str:
    """Floats of four digits, the first eight of a long row."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, tuple):
        return str(value)
    shown = [_short(item) for item in value[:8]] + ([f"... {len(value)} in all"] if len(value) > 8 else [])
    return f"({', '.join(shown)}{',' * (len(value) == 1)})"


def _sizes(architecture: Architecture, config: Any) -> list[str]:
    """Built on the meta device: no memory is taken."""
    import torch

    with torch.device("meta"):
        model = registry.load_object(architecture.model)(config)
    lines = [f"  parameters  {_parameters(model)}"]
    if architecture.kind == "tokenizer":
        lines = [f"  tokens      {tokens_in_words(model.token_spec)}", f"  images      {_image_sizes(model)}", *lines]
        lines += [f"  needs       {need}" for need in _needs(model)]
    return lines


def _needs(model: "VisualTokenizer") -> list[str]:
    """What a user must give besides pixels."""
    return [
        f"{name}=, for {' and '.join(condition.parts)}: {condition.what}"
        for name, condition in model.conditions.items()
        if not condition.prepared
    ]


def _image_sizes(model: "VisualTokenizer") -> str:
    size, step = model.image_size, model.multiple_of
    said = f"{size}x{size} pixels" + (f", or any sides that are multiples of {step}" if step else "")
    frames: int | None = getattr(model, "num_frames", None)  # of videos
    return said if frames is None else f"{said}; {frames} frames, or any number 1 + {model.config.frame_downsample} n"


def _parameters(model: "nn.Module") -> str:
    total = sum(parameter.numel() for parameter in model.parameters())
    halves = [
        f"{half} {_count(sum(parameter.numel() for parameter in getattr(model, half).parameters()))}"
        for half in ("encoder", "decoder")
        if getattr(model, half, None) is not None
    ]
    return f"{_count(total)} ({', '.join([*halves, f'{_count(4 * total)}B in float32'])})"


def _weights(architecture: Architecture, weights: Weights) -> list[str]:
    name = architecture.full_name(weights)
    lines = [f"weights {name}", f"  licence     {weights.licence} (the authors' code: {weights.code_licence})"]
    lines += [f"  hub         {source.repo}: {' or '.join(source.files)}" for source in weights.sources]
    if weights.manual is not None:
        lines += [f"  by hand     {weights.manual.file} from {weights.manual.url}"]
    lines += [f"  here        {_where(name, weights)}"]
    lines += [f"  tokenizer   {weights.tokenizer}"] if weights.tokenizer else []
    lines += [f"  sampling    {_fields(weights.sampling)}"] if weights.sampling else []
    lines += [f"  published   {score.metric} {score.value:g} ({score.protocol})" for score in weights.scores]
    lines += [f"  checked     {CHECKED[weights.checked]}"]
    lines += [f"  note        {weights.note}"] if weights.note else []
    path = "" if weights.manual is None else ", file=PATH"
    return [*lines, f'  load        tokzoo.from_pretrained("{name}"{path})']


def _where(name: str, weights: Weights) -> str:
    if weights.shipped:
        file = _files.data_folder("checkpoints") / name / _finding.WEIGHTS
        base = _described(name).get("base")
        beside = "" if base is None else f", beside the weights of {base['name']}, on which it stands"
        return f"shipped with tokzoo, works offline: {file} ({_count(file.stat().st_size)}B{beside})"
    for source in weights.sources:
        for file in _cached(source):
            return f"in the cache, works offline: {file} ({_count(file.stat().st_size)}B)"
    if weights.manual is not None:
        return "not known: a browser fetches it, and you give its path"
    return f"not in the cache; for use without a network fetch it once: tokzoo download {name}"


def _cached(source: Source) -> list[Path]:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(source.repo, file, revision=source.revision) for file in source.files]
    return [Path(path) for path in found if isinstance(path, str)]


def _registered_weights(architecture: Architecture, name: str | None) -> Weights | None:
    return next((weights for weights in architecture.weights if architecture.full_name(weights) == name), None)


def _licence_fields(licence: str | None) -> str:
    if licence is None:
        return ""
    if licence.lower() in CARD_LICENCES:
        return f"license: {licence.lower()}\n"
    return f"license: other\nlicense_name: {licence}\n"


def _count(number: float) -> str:
    """Three digits and k, M or G."""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} G"
