"""A tokenizer of any three parts that fit each other."""

from collections.abc import Mapping
from typing import Any

from tokzoo import shelf
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.grid.config import ComposedConfig
from tokzoo.tokenizers.grid.parts import DECODERS, ENCODERS, Placed
from tokzoo.tokens import Layout, Pyramid, TokenSpec


class ComposedTokenizer(VisualTokenizer):
    """Encoder, quantizer and decoder by name; they are checked against each other when the model is built.

    Raises:
        KeyError: no part of such a name. TypeError: options that a part does not take.
        ValueError: parts that do not fit: both sides are named.
    """

    def __init__(self, config: ComposedConfig):
        super().__init__(config)
        self.quantizer = shelf.build_quantizer(config.quantizer)
        name = config.quantizer["name"]
        encoder = _placed(
            ENCODERS, "encoder", config.encoder, dict(image_size=config.image_size), self.quantizer.latent_dim
        )
        _same_width("encoder", config.encoder["name"], encoder.width, "quantizer", name, self.quantizer.latent_dim)
        layout: Layout = encoder.layout  # type: ignore[assignment]
        self.token_layout = _on(self.quantizer.token_layout, layout, f"encoder {config.encoder['name']!r}", name)
        code_layout = self.quantizer.code_layout(self.token_layout)
        decoder = _placed(
            DECODERS,
            "decoder",
            config.decoder,
            dict(image_size=config.image_size, layout=code_layout),
            self.quantizer.code_dim,
        )
        _same_width("decoder", config.decoder["name"], decoder.width, "quantizer", name, self.quantizer.code_dim)
        if decoder.layout not in (None, code_layout):
            raise ValueError(
                f"decoder {config.decoder['name']!r} reads codes on {decoder.layout}; encoder "
                f"{config.encoder['name']!r} with quantizer {name!r} gives {code_layout}"
            )
        self.encoder, self.decoder = encoder.part, decoder.part

    @property
    def token_spec(self) -> TokenSpec:
        layout = self.token_layout
        most = layout.num_tokens or 0
        least = Pyramid(layout.scales[:1]).num_tokens if isinstance(layout, Pyramid) else most  # whole scales decode
        return TokenSpec(
            layout=layout, levels=self.quantizer.levels, channels=self.quantizer.code_dim, lengths=(least, most)
        )


def _placed(
    table: Mapping[str, str], what: str, described: Mapping[str, Any], given: dict[str, Any], code_dim: int
) -> Placed:
    options = {key: value for key, value in described.items() if key != "name"}
    placed: Placed = shelf.construct(table, described, {"code_dim": code_dim, **given, **options}, what)
    return placed


def _same_width(what: str, name: str, width: int, other: str, other_name: str, other_width: int) -> None:
    if width != other_width:
        verb = ("gives", "takes") if what == "encoder" else ("reads", "gives")
        raise ValueError(
            f"{what} {name!r} {verb[0]} vectors of {width} channels; {other} {other_name!r} {verb[1]} {other_width}. "
            "Leave code_dim out, and they fit"
        )


def _on(place: Any, layout: Layout, giver: str, taker: str) -> Layout:
    try:
        placed: Layout = place(layout)
    except ValueError as error:
        raise ValueError(f"{giver} gives tokens on {layout}, which quantizer {taker!r} refuses: {error}") from error
    return placed
