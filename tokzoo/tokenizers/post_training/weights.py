"""The architecture that `tokzoo.quantize` makes, and the tokenizer of TokenBridge, whose tables are a formula."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from tokzoo.registry import Architecture, Weights
from tokzoo.tokenizers.grid.config import VIT_KL_NANO
from tokzoo.tokenizers.kl16_vae import weights as kl16
from tokzoo.tokenizers.post_training.config import TINY, PostTrainingConfig

if TYPE_CHECKING:
    from torch import Tensor

(KL16,) = kl16.ARCHITECTURES
TOKENBRIDGE_KL16 = PostTrainingConfig(
    base=KL16.name, base_config=asdict(KL16.config), levels=(64,) * KL16.config.code_dim
)
TOKENBRIDGE_NANO = PostTrainingConfig(base="vit_kl_nano", base_config=asdict(VIT_KL_NANO), levels=(64,) * 16)  # ours
TOKENBRIDGE_NANO_16 = replace(TOKENBRIDGE_NANO, levels=(16,) * 16)


def convert(state: Mapping[str, "Tensor"], config: PostTrainingConfig) -> dict[str, "Tensor"]:
    """The state dict of KL-16 -> ours, with the published tables for latents scaled as its generators have them."""
    from tokzoo.quantizers.channel_tables import published_table
    from tokzoo.tokenizers.kl16_vae.config import Kl16VaeConfig

    base = Kl16VaeConfig(**config.base_config)
    table = published_table(config.levels[0], low=-5.0, high=5.0, reach=3.0) / base.scale
    return kl16.convert(state, base) | {"quantizer.values": table.repeat(base.code_dim, 1)}


ARCHITECTURES = (
    Architecture(
        name="post_training",
        family="post_training",
        model="tokzoo.tokenizers.post_training.model:PostTraining",
        config=TINY,
        token_type="discrete",
        paper="2503.16430",
    ),
    Architecture(
        name="tokenbridge_kl16",
        family="post_training",
        model="tokzoo.tokenizers.post_training.model:PostTraining",
        config=TOKENBRIDGE_KL16,
        token_type="discrete",
        paper="2503.16430",
        convert="tokzoo.tokenizers.post_training.weights:convert",
        weights=tuple(
            replace(
                weights, note="The file of kl16_vae.in1k; the authors encode a sample of its posterior: sample=True."
            )
            for weights in KL16.weights
        ),
    ),
    Architecture(
        name="tokenbridge_nano",
        family="post_training",
        model="tokzoo.tokenizers.post_training.model:PostTraining",
        config=TOKENBRIDGE_NANO,
        token_type="discrete",
        paper="2503.16430",
        weights=(Weights(tag="photos64", code_licence="Apache-2.0", licence="Apache-2.0", checked="weights"),),
    ),
    Architecture(
        name="tokenbridge_nano_16",
        family="post_training",
        model="tokzoo.tokenizers.post_training.model:PostTraining",
        config=TOKENBRIDGE_NANO_16,
        token_type="discrete",
        paper="2503.16430",
        weights=(Weights(tag="photos64", code_licence="Apache-2.0", licence="Apache-2.0", checked="weights"),),
    ),
)
