"""What tokenizers with one token per square of pixels have in common."""

from typing import Any

from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.ldm_sizes import LdmCnnSizes
from tokzoo.tokens import Grid, TokenSpec


class GridTokenizer(VisualTokenizer):
    """A plane of tokens, one per f x f pixels, f = `config.downsample`; any size that is a multiple of it."""

    @property
    def multiple_of(self) -> int:
        return int(self.config.downsample)

    @property
    def token_spec(self) -> TokenSpec:
        side = self.config.image_size // self.config.downsample
        return TokenSpec(
            layout=Grid(side, side),
            levels=self.quantizer.levels,
            channels=self.quantizer.code_dim,
            lengths=(1, side**2),
        )


def cnn_sizes(config: LdmCnnSizes) -> dict[str, Any]:
    """What the constructors of `LdmCnnEncoder` and `LdmCnnDecoder` take alike."""
    names = ("width", "multipliers", "num_blocks", "latent_dim", "code_dim", "attention_levels")
    return {name: getattr(config, name) for name in names}
