"""MaskGen: discrete or continuous tokens of a text, many at a time. B batch, L tokens, C channels, D width."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.conditions import Condition, Text
from tokzoo.generators.fill_in import FillIn, Filling
from tokzoo.generators.mar.model import Mar
from tokzoo.generators.masked_backbone import at_places
from tokzoo.generators.maskgen.caption import Caption, packed, paired_waves, stacked_waves
from tokzoo.generators.maskgen.config import MaskgenConfig, MaskgenKlConfig, MaskgenVqConfig
from tokzoo.generators.maskgen.joint import JointTransformer
from tokzoo.generators.sampling import guidance_at
from tokzoo.tokens import Sequence, TokenSpec

FIRST_GUIDANCE = 2.0  # the authors' s grows from 1, and is that of c + s (c - u)


class Captioned(nn.Module):
    """What both kinds have: captions, and the empty one, from which guidance leads away.

    CLIP makes the empty caption as it makes all others, and is no part of the model: `read_empty` takes it.
    """

    config: MaskgenConfig
    empty: Tensor | None
    device: torch.device
    dtype: torch.dtype

    def read_empty(self, caption: Caption) -> None:
        """Takes the caption of an empty text, one sample."""
        self.register_buffer("empty", self.condition(caption).features[:1].clone(), persistent=False)

    def condition(self, labels: Any) -> Text:
        """A Caption -> as it is passed on; what is so already stays.

        Raises:
            ValueError: no Caption, or features of another width.
        """
        if isinstance(labels, Text):
            return labels
        if not isinstance(labels, Caption):
            raise ValueError(f"this generator takes a Caption(features, pooled, score); got {type(labels).__name__}")
        features, pooled = labels.features, labels.pooled
        width = self.config.text_dim
        if features.ndim != 3 or features.shape[2] != width or tuple(pooled.shape) != (len(features), width):
            raise ValueError(
                f"a caption's features must be (B, T, {width}) and its pooled one (B, {width}); "
                f"got {tuple(features.shape)} and {tuple(pooled.shape)}"
            )
        return packed(labels, next(self.parameters()))

    def null(self, condition: Condition) -> Text:
        """The empty caption with the same scores.

        Raises:
            ValueError: it was not given, or has another length.
        """
        assert isinstance(condition, Text)
        if self.empty is None:
            raise ValueError(
                "guidance leads away from the empty text, which CLIP must say: "
                "generator.read_empty(CaptionText()([''])), or use guidance=1"
            )
        if self.empty.shape[1:] != condition.features.shape[1:]:
            raise ValueError(
                f"captions must be as long as the empty one: {self.empty.shape[1] - 1} tokens; "
                f"got {condition.features.shape[1] - 1}"
            )
        return Text(self.empty.to(condition.features).expand_as(condition.features), condition.valid)


class MaskgenVq(Captioned, FillIn):
    """p(masked tokens | text, the others), each alone. arXiv:2501.07730.

    Codes are said by the vectors that they are read by: `embed` holds codes, the mask, and rows that nothing reads.
    """

    config: MaskgenVqConfig

    def __init__(self, config: MaskgenVqConfig):
        super().__init__(config)
        self.register_buffer("empty", None, persistent=False)
        self.embed = nn.Embedding(config.codebook_size + config.num_classes + 2, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens, config.width))
        self.transformer = new_transformer(config)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def logits(self, ids: Tensor, condition: Condition) -> Tensor:
        assert isinstance(condition, Text)
        waves = stacked_waves(condition.valid, self.config.score_dim)
        hidden = self.transformer(self.embed(ids) + self.positions[: ids.shape[1]], condition, waves)
        return F.linear(hidden, self.embed.weight[: self.config.codebook_size]).float()

    def strength(self, step: int, how: Filling) -> float:
        """As published with `power_cosine`: from 2 on, and whole in the last step."""
        if how.guidance_schedule != "power_cosine":
            return super().strength(step, how)
        grown = guidance_at((step + 1) / how.num_steps, 2.0, how.guidance_schedule, how.guidance_power) - 1  # 0 to 1
        return FIRST_GUIDANCE + (how.guidance - FIRST_GUIDANCE) * grown


class KlBackbone(nn.Module):
    """What is known of a picture, and a caption -> a vector for every token.

    Shapes:
        values (B, L, C), known int64 (B, K), which, a packed caption -> (B, L, D)
    """

    def __init__(self, config: MaskgenKlConfig):
        super().__init__()
        self.score_dim = config.score_dim
        self.embed = nn.Linear(config.channels, config.width)
        self.norm_in = nn.LayerNorm(config.width, eps=1e-6)
        self.mask_token = nn.Parameter(0.02 * torch.randn(config.width))
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens, config.width))
        self.transformer = new_transformer(config)
        self.output_positions = nn.Parameter(0.02 * torch.randn(config.num_tokens, config.width))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, values: Tensor, known: Tensor, caption: Text) -> Tensor:
        read = self.norm_in(self.embed(at_places(values, known).to(self.embed.weight.dtype)))  # (B, K, D)
        hidden = self.mask_token.expand(len(values), len(self.positions), -1)
        hidden = hidden.scatter(1, known.unsqueeze(-1).expand_as(read), read) + self.positions
        waves = paired_waves(caption.valid, self.score_dim)
        return self.transformer(hidden, caption, waves) + self.output_positions


class MaskgenKl(Captioned, Mar):
    """p(continuous token | text, those known): MAR's head on a transformer that reads text. arXiv:2501.07730."""

    config: MaskgenKlConfig

    def __init__(self, config: MaskgenKlConfig):
        super().__init__(config)  # type: ignore[arg-type]  # it has what MAR's head reads
        self.register_buffer("empty", None, persistent=False)

    def _new_backbone(self) -> nn.Module:
        return KlBackbone(self.config)

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        if spec.levels is not None or not isinstance(spec.layout, Sequence):
            raise ValueError(
                f"{cls.__name__} makes a row of continuous tokens; this tokenizer's have levels {spec.levels} on "
                f"{spec.layout}"
            )
        return dict(channels=spec.channels, num_tokens=spec.layout.num_tokens, scale=spec.scale, shift=spec.shift)

    def check_pair(self, spec: TokenSpec) -> None:
        if spec.levels is not None or spec.channels != self.config.channels or spec.layout != self.layout:
            raise ValueError(
                f"this generator makes continuous tokens of {self.config.channels} channels on {self.layout}; the "
                f"tokenizer's have {spec.channels} channels and levels {spec.levels} on {spec.layout}: they are no pair"
            )

    def _masked_count(self, device: torch.device, generator: torch.Generator | None) -> int:
        uniform = float(torch.rand((), device=device, generator=generator))
        return max(1, math.ceil(self.config.num_tokens * math.acos(uniform) / (math.pi / 2)))


def new_transformer(config: MaskgenConfig) -> JointTransformer:
    """Of these sizes."""
    return JointTransformer(
        config.width, config.depth, config.num_heads, text_dim=config.text_dim, score_dim=config.score_dim
    )
