"""The one training loop. B batch, H W pixels."""

import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from tokzoo._files import write_atomically
from tokzoo.data.batches import Chosen, Photos, Prefetcher, TrainingImages, evaluation_images
from tokzoo.data.readers import ImageFolder
from tokzoo.losses.reconstruction import psnr
from tokzoo.quantizers.usage import MOST_VALUES, CodeUse
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.training import checkpoints
from tokzoo.training.conditioning import Conditioning
from tokzoo.training.config import TrainConfig, differences, plain
from tokzoo.training.ema import Ema
from tokzoo.training.log import Log, progress_line
from tokzoo.training.objectives import Losses
from tokzoo.training.optimizers import build_optimizers, freeze, learning_rate
from tokzoo.training.recipes import Stage, build_model, build_stages

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

REVIVE_UNTIL = 0.8  # share of a stage, after which the codebook is left to settle


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
        tok = build_model(config)
        checkpoint = checkpoints.load_newest(self.folder)
        if checkpoint is not None:
            self.seconds_before = checkpoint.seconds
            logger.info("going on at step %d of %d", checkpoint.step, config.steps)
        learned, held_out = split_photos(config)
        photos = TrainingImages(learned, tok.image_size)
        scored = evaluation_images(held_out, tok.image_size, limit=config.eval_images).to(self.accelerator.device)
        first_step = 0
        for number, stage in enumerate(stages):
            if stage.init is not None:
                tok = stage.init(tok)
            last_step = first_step + stage.steps
            resumed = checkpoint if checkpoint is not None and checkpoint.stage == number else None
            if checkpoint is None or checkpoint.stage <= number:
                labels = (getattr(learned, "labels", None), getattr(held_out, "labels", None))
                loop = StageLoop(self, tok, stage, number, first_step, last_step, photos, scored, labels)
                if not loop.run(resumed):
                    return self.folder
                tok = loop.averaged()
            first_step = last_step
        final = self.folder / "final"
        if self.accelerator.is_main_process:
            tok.save_pretrained(final)
        return final

    @property
    def seconds(self) -> float:
        """Time spent in training, earlier sittings included."""
        return self.seconds_before + time.monotonic() - self.started


class StageLoop:
    """One stage: its optimizers, its averages, its steps [first, last)."""

    def __init__(
        self,
        run: Run,
        tok: VisualTokenizer,
        stage: Stage,
        number: int,
        first: int,
        last: int,
        photos: TrainingImages,
        held_out: Tensor,
        labels: tuple[list[str] | None, list[str] | None] = (None, None),
    ):
        config, accelerator = run.config, run.accelerator
        self.run_, self.config, self.accelerator = run, config, accelerator
        self.stage, self.number, self.first, self.last = stage, number, first, last
        self.photos, self.held_out = photos, held_out
        self.tok = tok.to(accelerator.device).train()
        frozen = tuple(
            part for part in stage.frozen if any(name.startswith(part) for name, _ in tok.named_parameters())
        )
        freeze(self.tok, keep=stage.trainable, drop=(*config.freeze, *frozen))
        self.objective = stage.objective.place(accelerator.device)
        self.ema = Ema(self.tok, config.ema)
        self.code_use = self._code_use()
        self.beside = self.objective.learned()
        self.optimizers = build_optimizers(self.tok, config.optimizer, self.beside)
        self.adversary = self._adversary()
        compiled = torch.compile(self.tok) if config.compile else self.tok
        self.model, *self.prepared = accelerator.prepare(compiled, *self.optimizers)
        self.log = Log(run.folder, enabled=accelerator.is_main_process)
        self.labels, self.held_out_labels = labels
        self.conditioning = Conditioning(
            self.tok, accelerator.device, caption=config.caption, labels=self.labels is not None
        )

    def run(self, checkpoint: checkpoints.Checkpoint | None) -> bool:
        """Runs to the end of the stage; False if the time ran out before."""
        start = self.first
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
                if step >= self.last:
                    break
                losses, norm = self._step(step, batch)
                done = step + 1
                bar.update()
                due = done % self.config.log_every == 0 or done == self.last
                late = due and done < self.last and self._out_of_time()
                saves = late or done % self.config.save_every == 0 or done == self.last
                if due or saves:
                    self._check_finite(step, losses, norm)
                if due:
                    now = time.monotonic()
                    rate = (done - tick[1]) * self.config.batch_size * self.accelerator.num_processes / (now - tick[0])
                    tick = (now, done)
                    self._report(done, losses, norm, rate, bar)
                if done % self.config.eval_every == 0 or done == self.last:
                    self._evaluate(done)
                if saves:
                    self._save(done)
                    if late:
                        logger.info("time is up at step %d of %d; start again to go on", done, self.config.steps)
                        return False
        return True

    def averaged(self) -> VisualTokenizer:
        """The stage's model with its averaged weights."""
        with torch.no_grad():
            for name, parameter in self.tok.named_parameters():
                parameter.copy_(self.ema.averages[name])
        return self.tok.requires_grad_(True).eval()

    def _batch(self, step: int) -> Tensor:
        return self.photos.batch(self._own(step), seed=self.config.seed, batch_size=self.config.batch_size)

    def _labels(self, step: int) -> list[str] | None:
        if self.labels is None or self.config.caption is None:
            return None
        chosen = self.photos.indices(self._own(step), seed=self.config.seed, batch_size=self.config.batch_size)
        return [self.labels[index] for index in chosen]

    def _own(self, step: int) -> int:
        """The number of this process's batch at `step`."""
        return step * self.accelerator.num_processes + self.accelerator.process_index

    def _step(self, step: int, batch: Tensor) -> tuple[Losses, Tensor]:
        """One update; what it measured stays on the device."""
        images = to_images(batch.to(self.accelerator.device, non_blocking=True), self.tok.image_size)
        generator = torch.Generator(self.accelerator.device)
        generator.manual_seed(hash_of(self.config.seed, step, self.accelerator.process_index))
        rate = learning_rate(step - self.first, self.last - self.first, self.config.optimizer)
        for group in (group for optimizer in self.prepared for group in optimizer.param_groups):
            group["lr"] = rate * group["share"]
        given = self.conditioning(images, self._labels(step))
        with self.accelerator.autocast():
            losses: Losses = self.objective(self.model, images, step - self.first, generator, **given)
        for optimizer in self.prepared:
            optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(losses.total)
        self._average_gradients(self.beside)
        norm = self.accelerator.clip_grad_norm_([*self.tok.parameters(), *self.beside], self.config.optimizer.clip)
        for optimizer in self.prepared:
            optimizer.step()
        if self.adversary is not None and step - self.first >= self.config.loss.adversarial_start:
            with self.accelerator.autocast():
                loss = self.objective.discriminator_loss(images, losses.output)
            self.adversary.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            self._average_gradients(self.objective.discriminator.parameters())
            self.adversary.step()
        if self.code_use is not None:
            self.code_use.update(self.accelerator.gather(losses.output.tokens.indices))
            self._revive(step, losses.output.latents)
        self.ema.update(self.tok, step - self.first)
        return losses, norm

    def _revive(self, step: int, latents: Tensor) -> None:
        every, local = self.config.revive_every, step - self.first + 1
        quantizer = self.tok.quantizer
        if not every or local % every or local > REVIVE_UNTIL * self.stage.steps:
            return
        learns = all(value.requires_grad for value in quantizer.parameters())
        if self.code_use is not None and isinstance(quantizer, VectorQuantizer) and quantizer.replaceable and learns:
            generator = torch.Generator().manual_seed(hash_of(self.config.seed, step, 1 << 20))
            self.code_use.revive(quantizer, self.accelerator.gather(latents.detach()), generator)

    def _average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Of parameters that are not wrapped for several processes."""
        if self.accelerator.num_processes > 1:
            for parameter in parameters:
                parameter.grad = self.accelerator.reduce(parameter.grad, "mean")

    def _code_use(self) -> CodeUse | None:
        levels = self.tok.token_spec.levels
        if levels is None or len(levels) != 1 or levels[0] > MOST_VALUES:
            return None
        return CodeUse(levels[0]).to(self.accelerator.device)

    def _adversary(self) -> torch.optim.Optimizer | None:
        if self.objective.discriminator is None:
            return None
        self.objective.discriminator.to(self.accelerator.device)
        rate = self.config.optimizer.discriminator_lr
        return torch.optim.AdamW(self.objective.discriminator.parameters(), lr=rate, betas=self.config.optimizer.betas)

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
        bad = [name for name, value in self.tok.named_parameters() if not bool(value.isfinite().all())]
        raise NonFiniteLossError(
            f"step {step}: loss {float(losses.total.detach())}, gradient norm {float(norm)}, terms {terms}; "
            f"{len(bad)} weights are not finite, first {bad[:3]}. The last checkpoint in {self.run_.folder} is good. "
            "Try a lower learning rate, a longer warm-up, precision=float32, or fewer loss terms."
        )

    def _report(self, step: int, losses: Losses, norm: Tensor, rate: float, bar: "tqdm[Any]") -> None:
        numbers = {name: float(value.detach()) for name, value in losses.terms.items()}
        numbers |= {"loss": float(losses.total.detach()), "gradient_norm": float(norm), "images_per_second": rate}
        numbers["lr"] = self.prepared[0].param_groups[0]["lr"]
        if self.code_use is not None:
            numbers |= {"usage": self.code_use.usage(), "perplexity": self.code_use.perplexity()}
        self.log.write(step, numbers)
        bar.set_postfix_str(progress_line({**self.log.last_evaluation, **numbers}))

    @torch.no_grad()
    def _evaluate(self, step: int) -> None:
        """PSNR of the averaged weights on the held-out images, and the tokens they take where that varies."""
        if self.config.recipe == "titok_two_stage" and self.number == 0:
            return
        self.tok.eval()
        with self.ema.applied(self.tok):
            scores, lengths = [], []
            for start in range(0, len(self.held_out), self.config.batch_size):
                part = slice(start, start + self.config.batch_size)
                images = self.held_out[part].float() / 255
                labels = None if self.held_out_labels is None else self.held_out_labels[part]
                given = self.conditioning(images, labels)
                tokens = self.tok.encode(images, **given)
                scores.append(psnr(self.tok.decode(tokens, **given), images))
                lengths.append(tokens.lengths)
        self.tok.train()
        numbers = {"val_psnr": float(torch.cat(scores).mean())}
        if tokens.valid is not None:
            numbers["val_tokens"] = float(torch.cat(lengths).float().mean())
        self.log.evaluated(step, numbers)

    def _save(self, step: int) -> None:
        if not self.accelerator.is_main_process:
            return
        objective = {f"objective.{key}": value for key, value in self.objective.state_dict().items()}
        if self.code_use is not None:
            objective |= {f"code_use.{key}": value for key, value in self.code_use.state_dict().items()}
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        if self.adversary is not None:
            optimizers.append(self.adversary.state_dict())
        checkpoint = checkpoints.Checkpoint(
            step, self.number, self.run_.seconds, self.tok.state_dict(), self.ema.averages, objective, optimizers
        )
        checkpoints.save(self.run_.folder, checkpoint, keep=self.config.keep)

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        self.tok.load_state_dict(checkpoint.model)
        device = self.accelerator.device
        self.ema.averages = {name: checkpoint.ema[name].to(device) for name in self.ema.averages}  # files sort by name
        self.objective.load_state_dict(_under(checkpoint.objective, "objective."))
        if self.code_use is not None:
            self.code_use.load_state_dict(_under(checkpoint.objective, "code_use."))
        own = [*self.optimizers, *([] if self.adversary is None else [self.adversary])]
        for optimizer, state in zip(own, checkpoint.optimizers, strict=True):
            optimizer.load_state_dict(state)


def mixed_precision(config: TrainConfig) -> str:
    """The precision in accelerate's words."""
    if config.precision == "auto":
        on_gpu = config.device != "cpu" and torch.cuda.is_available()
        native = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
        return "bf16" if native else "no"
    return "no" if config.precision == "float32" else config.precision


def split_photos(config: TrainConfig) -> tuple[Photos, Photos]:
    """Photos to learn from and photos to score on: by split or folder, else one in twenty is held out."""
    learned = ImageFolder(config.data, split=config.split)
    if config.val_data is not None or config.val_split is not None:
        return learned, ImageFolder(config.val_data or config.data, split=config.val_split)
    if len(learned) < 2:
        raise ValueError(f"{config.data} holds one image: training needs another to hold out; or give val_data=")
    order = np.random.default_rng(0).permutation(len(learned)).tolist()
    count = min(config.eval_images, max(1, len(learned) // 20))
    return Chosen(learned, order[count:]), Chosen(learned, order[:count])


def training_attention(device: torch.device) -> AbstractContextManager[object]:
    """While open, attention runs by the kernels that train fastest on `device`.

    On a CPU the fused kernel's backward pass takes several times the time of plain products, at the few hundred tokens
    that are trained on one.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def to_images(batch: Tensor, size: int) -> Tensor:
    """uint8 (B, 3, s, s) -> float (B, 3, size, size) in [0, 1], shrunk with antialiasing where s > size."""
    images = batch.float() / 255
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def hash_of(*numbers: int) -> int:
    """A seed from several numbers, well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(2, np.uint64)[0] >> np.uint64(1))


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


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
