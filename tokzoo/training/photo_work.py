"""Tokenizers learn from photos. B batch, H W pixels."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from tokzoo.conversion import under
from tokzoo.data.batches import Chosen, Photos, TrainingImages, evaluation_images, to_images
from tokzoo.data.readers import ImageFolder
from tokzoo.losses.reconstruction import psnr
from tokzoo.quantizers.usage import MOST_VALUES, CodeUse
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.training.conditioning import Conditioning
from tokzoo.training.config import TrainConfig
from tokzoo.training.objectives import Losses
from tokzoo.training.recipes import Stage
from tokzoo.training.work import Span, Work, hash_of

if TYPE_CHECKING:
    from accelerate import Accelerator

REVIVE_UNTIL = 0.8  # share of a stage, after which the codebook is left to settle


class PhotoData(NamedTuple):
    """Photos to learn from, and uint8 images (N, 3, H, W) to score on; labels where there are any."""

    photos: TrainingImages
    held_out: Tensor
    labels: list[str] | None
    held_out_labels: list[str] | None


class PhotoWork(Work):
    """A tokenizer that learns to give photos back. Discriminators and dead codes are seen to after each step."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: "Accelerator",
        model: VisualTokenizer,
        stage: Stage,
        span: Span,
        data: PhotoData,
    ):
        super().__init__(config, accelerator, model, stage, span, data)
        self.held_out = data.held_out.to(accelerator.device)
        self._shown = self.held_out  # the images of the last step
        self.code_use = self._code_use()
        self.conditioning = Conditioning(
            self.model, accelerator.device, caption=config.caption, labels=data.labels is not None
        )
        if self.objective.discriminator is not None:
            judged, told = self.objective.discriminator.parameters(), config.optimizer
            self.adversary = torch.optim.AdamW(judged, lr=told.discriminator_lr, betas=told.betas)

    @classmethod
    def read(cls, config: TrainConfig, model: VisualTokenizer) -> PhotoData:
        learned, held_out = split_photos(config)
        return PhotoData(
            photos=TrainingImages(learned, model.image_size),
            held_out=evaluation_images(held_out, model.image_size, limit=config.eval_images),
            labels=getattr(learned, "labels", None),
            held_out_labels=getattr(held_out, "labels", None),
        )

    def batch(self, number: int) -> tuple[Tensor, list[str] | None]:
        seed, size = self.config.seed, self.config.batch_size
        crops = self.data.photos.batch(number, seed=seed, batch_size=size)
        if self.data.labels is None or self.config.caption is None:
            return crops, None
        shown = self.data.photos.indices(number, seed=seed, batch_size=size)
        return crops, [self.data.labels[index] for index in shown]

    def losses(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> Losses:
        crops, labels = batch
        images = to_images(crops.to(self.accelerator.device, non_blocking=True), self.model.image_size)
        self._shown = images
        given = self.conditioning(images, labels)
        with self.accelerator.autocast():
            losses: Losses = self.objective(model, images, step, generator, **given)
        return losses

    def after(self, losses: Losses, step: int) -> None:
        output = losses.output
        assert output is not None
        if self.adversary is not None and step - self.span.first >= self.config.loss.adversarial_start:
            with self.accelerator.autocast():
                loss = self.objective.discriminator_loss(self._shown, output)
            self.adversary.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            self.average_gradients([value for group in self.adversary.param_groups for value in group["params"]])
            self.adversary.step()
        if self.code_use is not None:
            self.code_use.update(self.accelerator.gather(output.tokens.indices))
            self._revive(self.code_use, step, output.latents)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """PSNR, and the tokens that images take where that varies."""
        if self.config.recipe == "titok_two_stage" and self.span.number == 0:
            return {}
        scores, lengths = [], []
        for start in range(0, len(self.held_out), self.config.batch_size):
            part = slice(start, start + self.config.batch_size)
            images = self.held_out[part].float() / 255
            labels = None if self.data.held_out_labels is None else self.data.held_out_labels[part]
            given = self.conditioning(images, labels)
            tokens = self.model.encode(images, **given)
            scores.append(psnr(self.model.decode(tokens, **given), images))
            lengths.append(tokens.lengths)
        numbers = {"val_psnr": float(torch.cat(scores).mean())}
        if tokens.valid is not None:
            numbers["val_tokens"] = float(torch.cat(lengths).float().mean())
        return numbers

    def numbers(self) -> dict[str, float]:
        if self.code_use is None:
            return {}
        return {"usage": self.code_use.usage(), "perplexity": self.code_use.perplexity()}

    def state(self) -> dict[str, Tensor]:
        counted = {} if self.code_use is None else self.code_use.state_dict()
        return super().state() | {f"code_use.{key}": value for key, value in counted.items()}

    def load_state(self, state: dict[str, Tensor]) -> Self:
        if self.code_use is not None:
            self.code_use.load_state_dict(under(state, "code_use."))
        return super().load_state(state)

    def _code_use(self) -> CodeUse | None:
        levels = self.model.token_spec.levels
        if levels is None or len(levels) != 1 or levels[0] > MOST_VALUES:
            return None
        return CodeUse(levels[0]).to(self.accelerator.device)

    def _revive(self, use: CodeUse, step: int, latents: Tensor) -> None:
        every, local = self.config.revive_every, step - self.span.first + 1
        quantizer = self.model.quantizer
        if not every or local % every or local > REVIVE_UNTIL * self.span.steps:
            return
        learns = all(value.requires_grad for value in quantizer.parameters())
        if isinstance(quantizer, VectorQuantizer) and quantizer.replaceable and learns:
            generator = torch.Generator().manual_seed(hash_of(self.config.seed, step, 1 << 20))
            use.revive(quantizer, self.accelerator.gather(latents.detach()), generator)


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
