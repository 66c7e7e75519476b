"""The name under which any encoder, quantizer and decoder are composed; and ours."""

from tokzoo.registry import Architecture, Weights
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
    Architecture(
        name="vit_kl_nano",
        family="grid",
        model="tokzoo.tokenizers.grid.model:ComposedTokenizer",
        config=sizes.VIT_KL_NANO,
        token_type="continuous",
        published_as="KL autoencoder",
        paper="2112.10752",  # of its bottleneck and recipe; encoder and decoder are plain ViTs
        weights=(Weights(tag="photos64", code_licence="Apache-2.0", licence="Apache-2.0", checked="weights"),),
    ),
)
