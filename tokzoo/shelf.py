"""Names -> parts, as data: what a `grid` tokenizer is composed of. Nothing is imported before it is asked for."""

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tokzoo import registry

if TYPE_CHECKING:
    from tokzoo.parts import Quantizer

QUANTIZERS: dict[str, str] = {
    "bae": "tokzoo.quantizers.bernoulli:BernoulliQuantizer",
    "bsq": "tokzoo.quantizers.sign:BinarySphericalQuantizer",
    "dimension_wise": "tokzoo.quantizers.dimension_wise:DimensionWiseQuantizer",
    "fsq": "tokzoo.quantizers.fsq:FiniteScalarQuantizer",
    "fsq_listed": "tokzoo.quantizers.fsq:ListedFiniteScalarQuantizer",
    "fsq_symmetric": "tokzoo.quantizers.fsq:SymmetricFiniteScalarQuantizer",
    "gfq": "tokzoo.quantizers.sign:GroupedBinaryQuantizer",
    "gumbel": "tokzoo.quantizers.gumbel:GumbelQuantizer",
    "ibq": "tokzoo.quantizers.index_backprop:IndexBackpropQuantizer",
    "kl": "tokzoo.quantizers.gaussian:GaussianBottleneck",
    "kmeans_start": "tokzoo.quantizers.kmeans:KmeansStartQuantizer",
    "lfq": "tokzoo.quantizers.sign:LookupFreeQuantizer",
    "multi_scale": "tokzoo.quantizers.multi_scale:MultiScaleQuantizer",
    "multi_scale_phi": "tokzoo.quantizers.multi_scale:SmoothedMultiScaleQuantizer",
    "none": "tokzoo.quantizers.identity:IdentityBottleneck",
    "perturbed": "tokzoo.quantizers.perturbation:PerturbedQuantizer",
    "product": "tokzoo.quantizers.product:ProductQuantizer",
    "residual": "tokzoo.quantizers.residual:ResidualQuantizer",
    "revived": "tokzoo.quantizers.revival:RevivedQuantizer",
    "shared_index": "tokzoo.quantizers.shared_index:SharedIndexQuantizer",
    "soft_vq": "tokzoo.quantizers.soft:SoftVectorQuantizer",
    "streaming_average": "tokzoo.quantizers.streaming_average:StreamingAverageQuantizer",
    "unit_latents": "tokzoo.quantizers.wrapped:UnitLatents",
    "vq": "tokzoo.quantizers.vector:VectorQuantizer",
    "vq_direction": "tokzoo.quantizers.vector:DirectionVectorQuantizer",
    "vq_ema": "tokzoo.quantizers.ema:EmaVectorQuantizer",
    "vq_frozen": "tokzoo.quantizers.projected:FrozenVectorQuantizer",
    "vq_sim": "tokzoo.quantizers.projected:SimVectorQuantizer",
}


def register_quantizer(name: str, quantizer: "Callable[..., Quantizer] | str") -> None:
    """Adds a quantizer for `dict(name=...)` in a grid tokenizer: a class of its own, or `module:Class`.

    A saved model holds the name alone: whoever loads it registers the class first.

    Raises:
        ValueError: the name is taken by another, or the class is not at the top of a module.
    """
    reference = quantizer if isinstance(quantizer, str) else registry.reference_of(quantizer)
    if QUANTIZERS.get(name, reference) != reference:
        raise ValueError(f"a quantizer is called {name!r} already: {QUANTIZERS[name]}; choose another name")
    QUANTIZERS[name] = reference


def build_quantizer(described: Mapping[str, Any]) -> "Quantizer":
    """The quantizer that `dict(name=..., **options)` describes; options that are such dicts are built, too.

    Raises:
        KeyError: no such name. TypeError: options that it does not take.
    """
    from tokzoo.quantizers.through import THROUGH

    options = {key: _built(value) for key, value in described.items() if key != "name"}
    if "through" in options:
        options["through"] = lookup(THROUGH, str(options["through"]), "way for gradients")
    made: Quantizer = construct(QUANTIZERS, described, options, "quantizer")
    return made


def construct(table: Mapping[str, str], described: Mapping[str, Any], options: dict[str, Any], what: str) -> Any:
    """What `table` has under `described["name"]`, made with `options`.

    Raises:
        KeyError: no name, or an unknown one. TypeError: options that it does not take.
    """
    if "name" not in described:
        raise KeyError(f"a {what} is described by dict(name=..., **options); got {dict(described)}")
    build = registry.load_object(lookup(table, str(described["name"]), what))
    try:
        return build(**options)
    except TypeError as error:
        raise TypeError(f"the {what} {described['name']!r} with {options}: {error}") from error


def lookup(table: Mapping[str, Any], name: str, what: str) -> Any:
    """`table[name]`; the error names what there is."""
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(sorted(table))}"
        extra = "; a class of yours is registered by tokzoo.register_quantizer first" if what == "quantizer" else ""
        raise KeyError(f"no {what} is called {name!r}; {hint}{extra}")
    return table[name]


def _built(value: Any) -> Any:
    if isinstance(value, Mapping) and "name" in value:
        return build_quantizer(value)
    if isinstance(value, tuple | list):
        return [_built(item) for item in value] if any(isinstance(item, Mapping) for item in value) else tuple(value)
    return value
