"""The one training loop, of tokenizers and of generators."""

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from tokzoo._files import write_atomically
from tokzoo.data.batches import Prefetcher
from tokzoo.generators.base import Generator
from tokzoo.training import checkpoints
from tokzoo.training.config import TrainConfig, differences, plain
from tokzoo.training.ema import Ema
from tokzoo.training.log import Log, progress_line
from tokzoo.training.objectives import Losses
from tokzoo.training.optimizers import build_optimizers, freeze, learning_rate
from tokzoo.training.photo_work import PhotoWork
from tokzoo.training.recipes import build_model, build_stages
from tokzoo.training.rgbd_work import RgbdWork
from tokzoo.training.token_work import TokenWork
from tokzoo.training.work import Span, Work, hash_of

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """The loss is NaN or infinite; the message says which terms and weights. The last good checkpoint stays."""


def train(config: TrainConfig) -> Path:
    """Trains a tokenizer; returns the folder of the final model (EMA weights), `config.out/final`.

    Started again with the same `out`, an unfinished run goes on from its last checkpoint, step for step as if unbroken.
    `out` holds config.yaml, metrics.jsonl, tensorboard files and checkpoints.

    Raises:
        ValueError: `out` holds a run of another config; what differs is named.
        NonFiniteLossError: training diverged.
        ImportError: the extra `train` is missing.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError("training needs accelerate: pip install 'tokzoo[train]'") from error
    accelerator = Accelerator(mixed_precision=mixed_precision(config), cpu=config.device == "cpu")
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    _write_or_compare_config(folder, config)
    torch.manual_seed(config.seed)  # the run is ours: initial weights depend on nothing but its seed
    run = Run(config, accelerator, folder)
    return run.go()


@dataclass
class Run:
    """One process's run: the stages one after another, over one row of steps."""

    config: TrainConfig
    accelerator: "Accelerator"
    folder: Path
    started: float = field(default_factory=time.monotonic)
    seconds_before: float = 0.0  # of earlier sittings

    def go(self) -> Path:
        """Trains, or goes on training; returns the folder of the final model, or of the run if time ran out."""
        config = self.config
        stages = build_stages(config)
        model = build_model(config)
        kind: type[Work] = TokenWork if isinstance(model, Generator) else PhotoWork
        kind = RgbdWork if config.recipe == "gst" else kind
        checkpoint = checkpoints.load_newest(self.folder)
        if checkpoint is not None:
            self.seconds_before = checkpoint.seconds
            logger.info("going on at step %d of %d", checkpoint.step, config.steps)
        data = kind.read(config, model)
        first_step = 0
        for number, stage in enumerate(stages):
            if stage.init is not None:
                model = stage.init(model)
            span = Span(number, first_step, first_step + stage.steps)
            resumed = checkpoint if checkpoint is not None and checkpoint.stage == number else None
            if checkpoint is None or checkpoint.stage <= number:
                loop = StageLoop(self, kind(config, self.accelerator, model, stage, span, data))
                if not loop.run(resumed):
                    return self.folder
                model = loop.averaged()
            first_step = span.last
        final = self.folder / "final"
        if self.accelerator.is_main_process:
            model.save_pretrained(final)
        return final

    @property
    def seconds(self) -> float:
        """Time spent in training, earlier sittings included."""
        return self.seconds_before + time.monotonic() - self.started


class StageLoop:
    """One stage: its optimizers, its averages, its steps."""

    def __init__(self, run: Run, work: Work):
        config, accelerator = run.config, run.accelerator
        self.run_, self.config, self.accelerator, self.work = run, config, accelerator, work
        self.span, model = work.span, work.model
        names = [name for name, _ in model.named_parameters()]
        frozen = tuple(part for part in work.stage.frozen if any(name.startswith(part) for name in names))
        freeze(model, keep=work.stage.trainable, drop=(*config.freeze, *frozen))
        self.ema = Ema(model, config.ema)
        self.beside = work.objective.learned()
        self.optimizers = build_optimizers(model, config.optimizer, self.beside)
        compiled = torch.compile(model) if config.compile else model
        self.model, *self.prepared = accelerator.prepare(compiled, *self.optimizers)
        self.log = Log(run.folder, enabled=accelerator.is_main_process)

    def run(self, checkpoint: checkpoints.Checkpoint | None) -> bool:
        """Runs to the end of the stage; False if the time ran out before."""
        start = self.span.first
        if checkpoint is not None:
            self._restore(checkpoint)
            start = checkpoint.step
        bar = tqdm(
            total=self.config.steps, initial=start, disable=not self.accelerator.is_main_process, dynamic_ncols=True
        )
        tick = (time.monotonic(), start)
        kernels = training_attention(self.accelerator.device)
        with Prefetcher(self._batch, start, workers=self.config.workers) as batches, bar, kernels:
            for step, batch in batches:
                if step >= self.span.last:
                    break
                losses, norm = self._step(step, batch)
                done = step + 1
                bar.update()
                due = done % self.config.log_every == 0 or done == self.span.last
                late = due and done < self.span.last and self._out_of_time()
                saves = late or done % self.config.save_every == 0 or done == self.span.last
                if due or saves:
                    self._check_finite(step, losses, norm)
                if due:
                    now = time.monotonic()
                    rate = (done - tick[1]) * self.config.batch_size * self.accelerator.num_processes / (now - tick[0])
                    tick = (now, done)
                    self._report(done, losses, norm, rate, bar)
                if done % self.config.eval_every == 0 or done == self.span.last:
                    self._evaluate(done)
                if saves:
                    self._save(done)
                    if late:
                        logger.info("time is up at step %d of %d; start again to go on", done, self.config.steps)
                        return False
        return True

    def averaged(self) -> Any:
        """The stage's model with its averaged weights."""
        model = self.work.model
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.ema.averages[name])
        return model.requires_grad_(True).eval()

    def _batch(self, step: int) -> Any:
        return self.work.batch(step * self.accelerator.num_processes + self.accelerator.process_index)

    def _step(self, step: int, batch: Any) -> tuple[Losses, Tensor]:
        """One update; what it measured stays on the device."""
        local = step - self.span.first
        generator = torch.Generator(self.accelerator.device)
        generator.manual_seed(hash_of(self.config.seed, step, self.accelerator.process_index))
        rate = learning_rate(local, self.span.steps, self.config.optimizer)
        for group in (group for optimizer in self.prepared for group in optimizer.param_groups):
            group["lr"] = rate * group["share"]
        losses = self.work.losses(self.model, batch, local, generator)
        for optimizer in self.prepared:
            optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(losses.total)
        self.work.average_gradients(self.beside)
        learning = [*self.work.model.parameters(), *self.beside]
        norm = self.accelerator.clip_grad_norm_(learning, self.config.optimizer.clip)
        for optimizer in self.prepared:
            optimizer.step()
        self.work.after(losses, step)
        self.ema.update(self.work.model, local)
        return losses, norm

    def _out_of_time(self) -> bool:
        """Whether any process has run for longer than `max_seconds`."""
        limit = self.config.max_seconds
        if limit is None:
            return False
        late = torch.tensor(
            time.monotonic() - self.run_.started > limit, device=self.accelerator.device, dtype=torch.int
        )
        return bool(self.accelerator.reduce(late, "sum") > 0)

    def _check_finite(self, step: int, losses: Losses, norm: Tensor) -> None:
        scaled = self.config.precision == "fp16"  # an infinite norm is then a step that the loss scaler leaves out
        if bool(losses.total.isfinite()) and (scaled or bool(torch.as_tensor(norm).isfinite())):
            return
        terms = {name: float(value.detach()) for name, value in losses.terms.items()}
        bad = [name for name, value in self.work.model.named_parameters() if not bool(value.isfinite().all())]
        raise NonFiniteLossError(
            f"step {step}: loss {float(losses.total.detach())}, gradient norm {float(norm)}, terms {terms}; "
            f"{len(bad)} weights are not finite, first {bad[:3]}. The last checkpoint in {self.run_.folder} is good. "
            "Try a lower learning rate, a longer warm-up, precision=float32, or fewer loss terms."
        )

    def _report(self, step: int, losses: Losses, norm: Tensor, rate: float, bar: "tqdm[Any]") -> None:
        numbers = {name: float(value.detach()) for name, value in losses.terms.items()}
        numbers |= {"loss": float(losses.total.detach()), "gradient_norm": float(norm), "images_per_second": rate}
        numbers["lr"] = self.prepared[0].param_groups[0]["lr"]
        numbers |= self.work.numbers()
        self.log.write(step, numbers)
        bar.set_postfix_str(progress_line({**self.log.last_evaluation, **numbers}))

    def _evaluate(self, step: int) -> None:
        """Held-out scores of the averaged weights."""
        model = self.work.model.eval()
        with self.ema.applied(model):
            numbers = self.work.evaluate()
        model.train()
        if numbers:
            self.log.evaluated(step, numbers)

    def _save(self, step: int) -> None:
        if not self.accelerator.is_main_process:
            return
        checkpoint = checkpoints.Checkpoint(
            step=step,
            stage=self.span.number,
            seconds=self.run_.seconds,
            model=self.work.model.state_dict(),
            ema=self.ema.averages,
            objective=self.work.state(),
            optimizers=[optimizer.state_dict() for optimizer in self._own_optimizers()],
        )
        checkpoints.save(self.run_.folder, checkpoint, keep=self.config.keep)

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        self.work.model.load_state_dict(checkpoint.model)
        device = self.accelerator.device
        self.ema.averages = {name: checkpoint.ema[name].to(device) for name in self.ema.averages}  # files sort by name
        self.work.load_state(checkpoint.objective)
        for optimizer, state in zip(self._own_optimizers(), checkpoint.optimizers, strict=True):
            optimizer.load_state_dict(state)

    def _own_optimizers(self) -> list[torch.optim.Optimizer]:
        return [*self.optimizers, *([] if self.work.adversary is None else [self.work.adversary])]


def mixed_precision(config: TrainConfig) -> str:
    """The precision in accelerate's words."""
    if config.precision == "auto":
        on_gpu = config.device != "cpu" and torch.cuda.is_available()
        native = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
        return "bf16" if native else "no"
    return "no" if config.precision == "float32" else config.precision


def training_attention(device: torch.device) -> AbstractContextManager[object]:
    """While open, attention runs by the kernels that train fastest on `device`.

    On a CPU the fused kernel's backward pass takes several times the time of plain products, at the few hundred tokens
    that are trained on one.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _write_or_compare_config(folder: Path, config: TrainConfig) -> None:
    file = folder / "config.yaml"
    if not file.is_file():
        write_atomically(file, yaml.safe_dump(plain(config), sort_keys=False))
        return
    changed = differences(yaml.safe_load(file.read_text()), config)
    if changed:
        raise ValueError(
            f"{folder} holds a run of another config ({'; '.join(changed)}). Go on with its own, or choose another out="
        )
