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
from tokzoo.tokens import Pyramid, Tokens, TokenSpec

MOST_AT_ONCE = 2**16  # tokens of which the vectors are asked in one go


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


@torch.no_grad()
def codebook_of(tok: VisualTokenizer) -> Tensor:
    """For each id (K, C), what it adds to the vectors that the decoder reads.

    Where a word is the whole token, the token's vector; of several words, the vector of a token of which the others
    are 0, less the mean over all values of that word. A pyramid has no vector of each token: its first one is the
    mean over the plane that a sample gives of which all other tokens are 0.
    """
    spec = tok.token_spec
    assert spec.levels is not None and spec.layout.num_tokens is not None
    words, length = Words.for_levels(spec.levels), spec.layout.num_tokens
    blank = torch.zeros(1, length, *(len(spec.levels),) * (len(spec.levels) > 1), dtype=torch.int64, device=tok.device)
    base = words.of(blank)[0]  # (W,)
    count, each = words.vocabulary, 1 if isinstance(spec.layout, Pyramid) else length  # ids that one sample tells of
    ids = torch.arange(count, device=tok.device)
    word = torch.arange(len(words.sizes), device=tok.device).repeat_interleave(ids.new_tensor(words.sizes))
    found = []
    for some in ids.split(max(each, MOST_AT_ONCE // length * each)):
        row, column = some // each - some[0] // each, some % each
        told = base.repeat(int(row[-1]) + 1, 1)
        told[row, column * len(words.sizes) + word[some]] = some
        codes = tok.codes(Tokens(layout=spec.layout, indices=words.codes(told), levels=spec.levels))
        found.append(codes.mean(1) if isinstance(spec.layout, Pyramid) else codes[row, column])
    vectors = torch.cat(found).float()
    if len(words.sizes) == 1 and not isinstance(spec.layout, Pyramid):
        return vectors
    return torch.cat([part - part.mean(0) for part in vectors.split(words.sizes)])
