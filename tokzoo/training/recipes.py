"""Recipes: lists of stages."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokzoo import _state, hub
from tokzoo.data.tokens import classes_of, first_shard
from tokzoo.generators.base import Generator
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.flextok.model import Flextok
from tokzoo.training import adaptive_length as adaptive
from tokzoo.training import flow_matching as flow
from tokzoo.training.config import TrainConfig
from tokzoo.training.depth_rendering import DepthRendering
from tokzoo.training.likelihood import Likelihood
from tokzoo.training.objectives import Objective, ProxyCodes, Reconstruction

DEFAULT_MODEL = "titok_nano"


@dataclass(frozen=True)
class Stage:
    """A part of a run with one objective.

    Args:
        objective: what is minimised.
        trainable: prefixes of parameter names that learn; an empty one means all.
        steps: how long.
        init: makes the stage's model of the one before; None keeps it.
        frozen: prefixes of parameter names that stay as they are all the same.
    """

    objective: Objective
    trainable: tuple[str, ...]
    steps: int
    init: Callable[[VisualTokenizer], VisualTokenizer] | None = None
    frozen: tuple[str, ...] = ()


def build_model(config: TrainConfig) -> Any:
    """The model that a run begins with.

    `init` says its sizes too, unless `model` names another architecture: that is built, and the weights must fit it
    whole, by name and shape.

    Raises:
        ValueError: weights of another architecture that do not fit.
    """
    if config.tokenizer is not None:
        return build_generator(config)
    if config.init is None:
        return hub.create_model(str(config.model or DEFAULT_MODEL), **config.overrides)
    given = hub.from_pretrained(config.init)
    if config.model in (None, hub.architecture_of(given).name):
        return hub.from_pretrained(config.init, **config.overrides) if config.overrides else given
    tok = hub.create_model(str(config.model), **config.overrides)
    _state.check_fit(tok.state_dict(), given.state_dict(), f"init={config.init}")
    tok.load_state_dict(given.state_dict())
    return tok


def build_generator(config: TrainConfig) -> Generator:
    """The generator that a run begins with, for its tokenizer's tokens and the classes of its data.

    Raises:
        ValueError: no generator, or one whose tokens or classes are others.
    """
    tok, classes = hub.from_pretrained(str(config.tokenizer)), classes_of(Path(config.data))
    if config.init is None:
        known = {"num_classes": len(classes), **config.overrides}
        model: Any = hub.create_model(str(config.model), tokenizer=tok, **known)
        if model.levels is None:
            shard = first_shard(Path(config.data), tok)
            model.read_scale(shard.tokens, **{name: shard.prepared[name] for name in model.reads})
    else:
        model = hub.from_pretrained(config.init, **config.overrides)
        model.read_tokenizer(tok)
    if model.config.num_classes != len(classes):
        raise ValueError(f"the generator has {model.config.num_classes} classes; {config.data} has {len(classes)}")
    model.tokenizer, model.classes = config.tokenizer, classes
    return model


def build_stages(config: TrainConfig) -> list[Stage]:
    """The stages of the run's recipe."""
    if config.tokenizer is not None:
        return [Stage(Likelihood(config.generation, config.steps), ("",), config.steps)]
    match config.recipe:
        case "single_stage":
            return [Stage(Reconstruction(config.loss), ("",), config.steps)]
        case "titok_two_stage":
            return titok_two_stage(config)
        case "flextok":
            return flextok(config)
        case "gst":
            return [Stage(DepthRendering(config.loss, config.depth), ("",), config.steps)]
        case _:
            return adaptive_length(config)


def titok_two_stage(config: TrainConfig) -> list[Stage]:
    """TiTok, arXiv:2406.07550, section 3.3: first the codes of a MaskGIT-VQGAN, then pixels through its decoder.

    In the second stage the encoder, its queries and the codebook stay as they are.
    """
    if config.teacher is None:
        raise ValueError("recipe titok_two_stage needs teacher=: a MaskGIT-VQGAN, e.g. maskgit_vqgan_f16.in1k")
    teacher = hub.from_pretrained(config.teacher)

    def learn_codes(tok: VisualTokenizer) -> VisualTokenizer:
        return type(tok)(replace(tok.config, head="code_logits", pixel=teacher.config))

    def make_pixels(tok: VisualTokenizer) -> VisualTokenizer:
        student = type(tok)(replace(tok.config, head="code_mixture"))
        own = {key.replace("decoder.head.", "decoder.head.logits."): value for key, value in tok.state_dict().items()}
        lent = {
            f"decoder.head.{key}": value for key, value in teacher.state_dict().items() if key.startswith("decoder.")
        }
        codebook = {"decoder.head.codebook.weight": teacher.state_dict()["quantizer.codebook"]}
        student.load_state_dict({**own, **lent, **codebook})
        return student

    return [
        Stage(ProxyCodes(teacher, config.loss), ("",), config.stage_one_steps, learn_codes),
        Stage(Reconstruction(config.loss), ("decoder",), config.steps - config.stage_one_steps, make_pixels),
    ]


def flextok(config: TrainConfig) -> list[Stage]:
    """FlexTok, arXiv:2502.13967: the velocity of the decoder's flow, after an autoencoder that stays as it is.

    Without weights to begin with, the transformers are initialised as muP wants them, and `teacher` is the autoencoder.
    """

    def begin(tok: VisualTokenizer) -> VisualTokenizer:
        if not isinstance(tok, Flextok):
            raise ValueError(f"recipe flextok trains a FlexTok; got a {type(tok).__name__}")
        if config.init is None:
            flow.initialise(tok)
        if config.teacher is not None:
            flow.lend(tok, hub.from_pretrained(config.teacher))
        elif config.init is None and tok.config.vae is not None:
            raise ValueError(f"recipe flextok needs teacher=: weights of {tok.config.vae}, the autoencoder; or init=")
        return tok

    teacher = flow.build_teacher(config.flow)
    width = 0 if teacher is None else build_model(config).config.decoder.width  # which REPA reads
    objective = flow.FlowMatching(config.loss, config.flow, teacher=teacher, width=width)
    return [Stage(objective, ("",), config.steps, begin, frozen=flow.FROZEN)]


def adaptive_length(config: TrainConfig) -> list[Stage]:
    """KARL (arXiv:2507.07995) and ALIT (arXiv:2411.02393): first what the base tokenizer says of an image, then pixels.

    In the first stage the base, `teacher`, stays as it is; in the second all learns. Without a base there are pixels
    only, and the teacher of a KARL is a TiTok of its sizes, whose weights it begins with.
    """
    codes, pixels = {
        "karl": (adaptive.KarlCodes, adaptive.KarlPixels),
        "alit": (adaptive.AlitCodes, adaptive.AlitPixels),
    }[config.recipe]
    begin = None if config.teacher is None else adaptive.lend(hub.from_pretrained(config.teacher))
    first, second = config.stage_one_steps, config.steps - config.stage_one_steps
    if not first:
        return [Stage(pixels(config.loss), ("",), second, begin)]
    return [
        Stage(codes(config.loss), ("",), first, begin, frozen=adaptive.BASE),
        Stage(pixels(config.loss), ("",), second),
    ]
