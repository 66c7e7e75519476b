"""The name under which any encoder, quantizer and decoder are composed. It has no published weights."""

from tokzoo.registry import Architecture
from tokzoo.tokenizers.grid import config as sizes

ARCHITECTURES = (
    Architecture(
        name="grid",
        family="grid",
        model="tokzoo.tokenizers.grid.model:ComposedTokenizer",
        config=sizes.GRID,
        token_type="discrete",
        paper="2309.15505",  # of the default quantizer
    ),
)
