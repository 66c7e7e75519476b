"""The architecture that `tokzoo.quantize` makes; nothing is published of it but tables, which are a formula."""

from tokzoo.registry import Architecture
from tokzoo.tokenizers.post_training.config import TINY

ARCHITECTURES = (
    Architecture(
        name="post_training",
        family="post_training",
        model="tokzoo.tokenizers.post_training.model:PostTraining",
        config=TINY,
        token_type="discrete",
        paper="2503.16430",
    ),
)
