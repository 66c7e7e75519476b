"""Objectives of tokenizers that learn to use few tokens: KARL, arXiv:2507.07995, and ALIT, arXiv:2411.02393.

B batch, T tokens, P places of the base tokenizer's grid, K its codebook size, C its channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo._state import check_fit
from tokzoo.encoders.halting_query import ERRORS
from tokzoo.layers.patches import to_tokens
from tokzoo.quantizers.nearest import nearest_rows
from tokzoo.tokenizers.alit.model import Alit
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.tokenizers.karl.model import Karl
from tokzoo.tokenizers.titok.model import Titok
from tokzoo.training.config import LossConfig
from tokzoo.training.objectives import Losses, Objective, Reconstruction

BASE = ("encoder.base", "decoder.head.decoder", "decoder.head.codebook")  # parameters that a base tokenizer lends
GREATEST_ASKED = 0.04  # error that the first pass of KARL may ask for at the outset
BUDGETS = 4  # drawn in a step, each for a part of the batch; the authors' eight processes draw one each
FORGET = 0.99  # of the chance of an error that some image already does better than


class Passes(NamedTuple):
    """KARL's two passes over a batch: `estimate` spends a random budget, `learn` is told the error that came of it."""

    estimate: TokenizerOutput
    learn: TokenizerOutput


class KarlPixels(Reconstruction):
    """KARL on pixels: every image is coded twice in a step. arXiv:2507.07995, section 3.

    First with a random budget, of which all tokens are read; then with the usual one, for the error that the first pass
    reached, and with the tokens beyond that budget taught to halt. The first pass asks for a small error, drawn evenly
    at the outset and less and less often as images do better than it.

    The terms are those of `Reconstruction`, means of both passes, and `halting_loss`, whose weight is 1 unless
    `weights.quantizer` says another. The authors give each of eight budgets a discriminator; here there is one.
    """

    asked: Tensor

    def __init__(self, weights: LossConfig):
        super().__init__(with_halting(weights))
        errors = torch.tensor(ERRORS)
        self.register_buffer("asked", (errors <= GREATEST_ASKED).float())

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        parts = []
        for group in images.chunk(BUDGETS):
            passes = two_passes(tok, group, self.asked, generator, paint=True, **conditions)
            parts += [self.score(tok, group, output, step) for output in passes]
        return mean_of(parts)


class KarlCodes(Objective):
    """KARL's first stage: what the base tokenizer says of an image is predicted, in the same two passes.

    arXiv:2507.07995, appendix; the authors' train stage `latent_distillation_pretrain`.
    """

    asked: Tensor

    def __init__(self, weights: LossConfig):
        super().__init__(with_halting(weights))
        self.register_buffer("asked", (torch.tensor(ERRORS) <= GREATEST_ASKED).float())

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        check_has_base(unwrapped(tok))
        parts = []
        for group in images.chunk(BUDGETS):
            for output in two_passes(tok, group, self.asked, generator, paint=False, **conditions):
                terms = base_terms(tok, output, output.reconstruction)
                total = torch.stack(list(terms.values())).sum()
                parts.append(with_quantizer(Losses(total, terms, output), self.weights))
        return mean_of(parts)


def with_halting(weights: LossConfig) -> LossConfig:
    """`weights` with one for `halting_loss`: 1, as published, if they have none."""
    return replace(weights, quantizer={"halting_loss": 1.0, **weights.quantizer})


def two_passes(
    tok: nn.Module,
    images: Tensor,
    asked: Tensor,
    generator: torch.Generator,
    *,
    paint: bool = True,
    **conditions: Tensor,
) -> Passes:
    """Codes `images` twice, as `KarlPixels` says; `asked`, the chances of the errors to ask for, changes in place."""
    plain = unwrapped(tok)
    if not isinstance(plain, Karl):
        raise TypeError(f"recipe karl trains a Karl; got a {type(plain).__name__}")
    budgets = karl_budgets(plain.config.num_tokens)
    budget = budgets[int(torch.randint(len(budgets), (), generator=generator, device=generator.device))]
    chosen = torch.multinomial(asked, len(images), replacement=True, generator=generator)
    draws: dict[str, Any] = dict(sample=True, generator=generator, paint=paint, **conditions)
    estimate = tok(images, num_tokens=budget, max_error=asked.new_tensor(ERRORS)[chosen], masked=False, **draws)
    with torch.no_grad():
        made = estimate.reconstruction if paint else plain.decoder.head.paint(estimate.reconstruction)  # type: ignore[operator, union-attr]
        reached = (made.float() - images.float()).abs().flatten(1).mean(1)  # (B,)
        asked[asked.new_tensor(ERRORS) >= reached.min()] *= FORGET
        asked /= asked.sum()
    spare = plain.config.num_tokens
    learn = tok(images, num_tokens=spare, max_error=reached, needed=min(budget, spare), **draws)
    return Passes(estimate, learn)


def karl_budgets(num_tokens: int) -> list[int]:
    """The budgets of the first pass: sixteenths of the usual one, up to 23 of them (16, 32, ..., 368 of 256)."""
    step = max(1, num_tokens // 16)
    return list(range(step, num_tokens * 3 // 2, step))


class AlitPixels(Reconstruction):
    """ALIT on pixels: in each step so many rounds as chance says, and what comes out after the last of them.

    arXiv:2411.02393, section 3 and the authors' train stage `full_finetuning`. They go through the counts of rounds in
    turn, and give each a discriminator of its own; here there is one.
    """

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        plain = alit(tok)
        rounds = 1 + int(torch.randint(plain.config.num_rounds, (), generator=generator, device=generator.device))
        count = rounds * plain.config.round_tokens
        output = tok(images, num_tokens=count, settle=False, sample=True, generator=generator, **conditions)
        return self.score(tok, images, output, step)


class AlitCodes(Objective):
    """ALIT's first stage: after every round, what the base tokenizer says of an image is predicted.

    Early rounds weigh more, and patches that are told well are blanked by chance. arXiv:2411.02393, the authors' train
    stage `latent_distillation_pretrain`.
    """

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        check_has_base(alit(tok))
        count = alit(tok).config.num_rounds
        output = tok(images, every=True, paint=False, sample=True, generator=generator, **conditions)
        parts = [base_terms(tok, output, output.aux[f"predicted_{number}"]) for number in range(count)]
        first = "cross_entropy" if "cross_entropy" in parts[0] else "code_error"  # which the weight of a round is for
        total = torch.zeros((), device=images.device)
        for part, weight in zip(parts, round_weights(count), strict=True):
            total = total + sum((weight if name == first else 1.0) * value for name, value in part.items())
        terms = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        return with_quantizer(Losses(total, terms, output), self.weights)


ROUND_WEIGHTS = (2.5, 2.0, 1.5, 1.25)  # then 1


def round_weights(count: int) -> list[float]:
    """Weight of each of `count` rounds."""
    return [*ROUND_WEIGHTS, *[1.0] * count][:count]


def alit(tok: nn.Module) -> Alit:
    """The tokenizer that is trained, if it is an ALIT."""
    plain = unwrapped(tok)
    if not isinstance(plain, Alit):
        raise TypeError(f"recipe alit trains an Alit; got a {type(plain).__name__}")
    return plain


# --- what both have in common ----------------------------------------------------------------------------------------


def base_terms(tok: nn.Module, output: TokenizerOutput, predicted: Tensor) -> dict[str, Tensor]:
    """How far `predicted` (B, K or C, h, w) is from the base tokenizer's own words for the images.

    Of a codebook: cross entropy with the nearest code, and square distance of the expected code to it. Of a variational
    autoencoder: square distance of the latents.
    """
    base = output.aux["base"].detach().float()  # (B, P, C)
    decoder: Any = unwrapped(tok).decoder
    head = decoder.head
    predicted = predicted.float()
    if not hasattr(head, "codebook"):
        return {"code_error": F.mse_loss(to_tokens(predicted), base)}
    rows = head.codebook.weight.detach().float()
    indices = nearest_rows(base.flatten(0, 1), rows).view(base.shape[:2])
    return {
        "cross_entropy": F.cross_entropy(predicted.flatten(2), indices),
        "code_error": F.mse_loss(to_tokens(head.expected(predicted)), F.embedding(indices, rows)),
    }


def check_has_base(tok: VisualTokenizer) -> None:
    """Raises ValueError for a model without a base tokenizer."""
    if tok.config.base.kind == "none":
        raise ValueError("this model has no base tokenizer, and so no first stage: set stage_one_steps to 0")


def with_quantizer(losses: Losses, weights: LossConfig) -> Losses:
    """`losses` and the quantizer's own terms."""
    total, terms = losses.total, dict(losses.terms)
    assert losses.output is not None
    for name, value in losses.output.losses.items():
        if weights.quantizer.get(name):
            terms[name] = value
            total = total + weights.quantizer[name] * value
    return Losses(total, terms, losses.output)


def mean_of(parts: list[Losses]) -> Losses:
    """Means of totals and terms; the output of the first."""
    total = torch.stack([part.total for part in parts]).mean()
    terms = {name: torch.stack([part.terms[name] for part in parts]).mean() for name in parts[0].terms}
    return Losses(total, terms, parts[0].output)


def unwrapped(tok: nn.Module) -> VisualTokenizer:
    """The tokenizer inside what trains it: DDP wraps in `module`, a compiled one in `_orig_mod`."""
    plain: Any = getattr(tok, "module", tok)
    inner: VisualTokenizer = getattr(plain, "_orig_mod", plain)
    return inner


def lend(teacher: VisualTokenizer) -> Callable[[VisualTokenizer], VisualTokenizer]:
    """What gives a KARL or an ALIT weights to begin with: those of its base tokenizer, or of a TiTok of its sizes.

    Raises:
        ValueError: a teacher that is neither.
    """

    def init(tok: VisualTokenizer) -> VisualTokenizer:
        own = tok.state_dict()
        if isinstance(teacher, Titok) and isinstance(tok, Karl) and tok.config.base.kind == "none":
            lent = titok_as_karl(teacher.state_dict(), own)
        else:
            lent = as_base(teacher.state_dict(), tok.config.base.kind)
            if set(lent) != {key for key in own if key.startswith(BASE)}:
                kind = tok.config.base.kind
                raise ValueError(f"the teacher {teacher.name} is not the base tokenizer ({kind}) of this model")
        check_fit(own, {**own, **lent}, f"the teacher {teacher.name}")
        tok.load_state_dict(lent, strict=False)
        return tok

    return init


def as_base(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """A base tokenizer's weights under their names in a KARL or an ALIT."""
    places = {"encoder": "encoder.base.encoder" if kind == "vae" else "encoder.base", "decoder": "decoder.head.decoder"}
    lent = {}
    for key, value in state.items():
        half, _, rest = key.partition(".")
        if half in places:
            lent[f"{places[half]}.{rest}"] = value
        elif key == "quantizer.codebook":
            lent["decoder.head.codebook.weight"] = value
    return lent


def titok_as_karl(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A TiTok's weights under their names in a KARL on pixels, of which `own` are the untrained ones.

    The class token of its encoder becomes a part of every error's embedding; that of its decoder goes, and so do the
    queries beyond the KARL's budget. What halts is new.
    """
    lent = {key: value for key, value in state.items() if key in own and not key.endswith("positions")}
    for half in ("encoder", "decoder"):
        table = own[f"{half}.positions"]
        lent[f"{half}.positions"] = state[f"{half}.positions"][1:].t().reshape(table.shape)
    begun = state["encoder.class_token"] + state["encoder.positions"][:1]
    lent["encoder.error_embeddings"] = begun + own["encoder.error_embeddings"]
    rows = {
        "encoder.queries": state["encoder.queries"] + state["encoder.query_positions"],
        "decoder.code_positions": state["decoder.code_positions"],
    }
    for key, values in rows.items():
        lent[key] = torch.cat([values, own[key][len(values) :]])[: len(own[key])]
    return lent
