"""A GPT and a MaskGIT to which near codes are near words. K codebook_size, C code_dim, D width, V values of a token."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.generators.gpt.model import Gpt
from tokzoo.generators.maskgit.model import Maskgit
from tokzoo.generators.on_codes.config import CodeGptConfig, CodeMaskgitConfig
from tokzoo.generators.words import Words
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens, TokenSpec


class CodeVectors(nn.Module):
    """A vector of width D for each code, by a small network of the vector that the tokenizer's decoder reads.

    A table of its own has K * D numbers, most of which are seen a few times where photos are few; here all codes share
    one network, and what is learned of a code holds for its neighbours.

    Shapes:
        forward() -> (K, D)
    """

    codebook: Tensor

    def __init__(self, codebook_size: int, code_dim: int, hidden_dim: int, width: int):
        super().__init__()
        self.register_buffer("codebook", torch.randn(codebook_size, code_dim))
        self.fc1 = nn.Linear(code_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Hidden units that tell neighbours apart: with a root mean square of 2."""
        nn.init.normal_(self.fc1.weight, std=2 * self.fc1.in_features**-0.5)
        nn.init.normal_(self.fc2.weight, std=0.5 * self.fc2.in_features**-0.5)

    @torch.no_grad()
    def read(self, codebook: Tensor) -> None:
        """Takes codes (K, C), scaled to a root mean square of 1."""
        self.codebook.copy_(codebook / codebook.square().mean().sqrt())

    def forward(self) -> Tensor:
        table: Tensor = self.fc2(F.gelu(self.fc1(self.codebook)))
        return table


class CodeEmbedding(nn.Module):
    """Ids -> vectors: ids below K are codes, the next `extra` have a table. `dropout` is of their channels.

    Shapes:
        ids (B, L) -> (B, L, D)
    """

    def __init__(self, vectors: CodeVectors, *, extra: int = 0, dropout: float = 0.0):
        super().__init__()
        self.vectors, self.dropout = vectors, dropout
        self.extra = nn.Parameter(0.02 * torch.randn(extra, vectors.fc2.out_features)) if extra else None

    def forward(self, ids: Tensor) -> Tensor:
        table = self.vectors()
        if self.extra is not None:
            table = torch.cat([table, self.extra.to(table)])
        return F.dropout(F.embedding(ids, table), self.dropout, self.training)


class CodeHead(nn.Module):
    """Hidden vectors -> a logit for each code: the product with its vector, and how frequent it is.

    Shapes:
        hidden (B, L, D) -> (B, L, K)
    """

    def __init__(self, vectors: CodeVectors):
        super().__init__()
        self.vectors = vectors
        self.bias = nn.Parameter(torch.zeros(len(vectors.codebook)))

    def forward(self, hidden: Tensor) -> Tensor:
        table = self.vectors()
        return F.linear(hidden * table.shape[1] ** -0.5, table, self.bias)


class OnCodeVectors:
    """What both have: the codebook, which they take from the tokenizer."""

    @classmethod
    def fields_for(cls, spec: TokenSpec) -> dict[str, Any]:
        fields: dict[str, Any] = super().fields_for(spec)  # type: ignore[misc]
        if len(Words.for_levels(spec.levels or ()).sizes) > 1:
            raise ValueError(
                f"{cls.__name__} says each token by its vector, as one word; codes of {spec.levels} values are more: "
                "gpt_b, rar_b and the published MaskGITs take them"
            )
        return fields | {"code_dim": spec.channels}

    def read_tokenizer(self, tok: VisualTokenizer) -> None:
        super().read_tokenizer(tok)  # type: ignore[misc]
        codebook = codebook_of(tok)
        for vectors in tables_of(self):  # type: ignore[arg-type]
            vectors.read(codebook)


class CodeGpt(OnCodeVectors, Gpt):
    """The GPT on code vectors, with dropout. arXiv:2406.06525 for the rest."""

    def __init__(self, config: CodeGptConfig):
        super().__init__(config)
        for block in self.blocks:
            block.dropout = config.dropout  # type: ignore[assignment]

    def _new_embed(self) -> nn.Module:
        return CodeEmbedding(vectors_for(self.config), dropout=self.config.dropout)

    def _new_head(self) -> nn.Module:
        return CodeHead(vectors_for(self.config))

    def _silence(self) -> None:
        for vectors in tables_of(self):
            vectors.reset_parameters()


class CodeMaskgit(OnCodeVectors, Maskgit):
    """MaskGIT on code vectors. arXiv:2202.04200 for the rest."""

    def __init__(self, config: CodeMaskgitConfig):
        super().__init__(config)
        self.embed = CodeEmbedding(vectors_for(config), extra=1 + config.num_classes + config.null_class)  # type: ignore[assignment]
        self.head = CodeHead(vectors_for(config))  # type: ignore[assignment]


def tables_of(model: nn.Module) -> list[CodeVectors]:
    """All of a model's."""
    return [module for module in model.modules() if isinstance(module, CodeVectors)]


def vectors_for(config: CodeGptConfig | CodeMaskgitConfig) -> CodeVectors:
    """Of these sizes."""
    return CodeVectors(config.codebook_size, config.code_dim, config.table_width, config.width)


def codebook_of(tok: VisualTokenizer) -> Tensor:
    """The vectors (K, C) that the decoder reads for each word of a tokenizer of one word a token."""
    spec = tok.token_spec
    assert spec.levels is not None and spec.layout.num_tokens is not None
    words, length = Words.for_levels(spec.levels), spec.layout.num_tokens
    count = words.vocabulary
    ids = torch.arange(-(-count // length) * length, device=tok.device).clamp(max=count - 1).view(-1, length)
    codes = tok.codes(Tokens(layout=spec.layout, indices=words.codes(ids), levels=spec.levels))
    return codes.flatten(0, 1)[:count]
