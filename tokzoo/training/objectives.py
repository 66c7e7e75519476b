"""What a stage minimises. An objective owns all that is not the tokenizer: teachers, discriminators, statistics.

B batch, H W pixels, L tokens, C channels, K codebook_size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.losses.adversarial import LeCam, PatchDiscriminator, hinge_discriminator_loss, hinge_generator_loss
from tokzoo.losses.perceptual import perceptual_loss
from tokzoo.parts import Quantizer
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.training.config import LossConfig


class Losses(NamedTuple):
    """`total` is what is minimised; `terms` are its unweighted parts by name; `output` is a tokenizer's."""

    total: Tensor
    terms: dict[str, Tensor]
    output: TokenizerOutput | None = None


class Objective(nn.Module):
    """Base: a loss of a tokenizer on a batch.

    Parameters and buffers of an objective are saved with the run; `frozen` is a plain list: its networks are not.
    Parameters learn with the model's; those of the discriminator learn against them. None of them is averaged: the
    final model is without its objective.
    """

    discriminator: PatchDiscriminator | None

    def __init__(self, weights: LossConfig):
        super().__init__()
        self.weights = weights
        self.frozen: list[nn.Module] = []
        self.discriminator = None

    __call__: Callable[..., Losses]

    def place(self, device: torch.device) -> Self:
        """Moves everything, frozen networks too."""
        for network in self.frozen:
            network.to(device)
        return self.to(device)

    def learned(self) -> list[nn.Parameter]:
        """Parameters that the model's optimizer takes with the model's own."""
        against = set() if self.discriminator is None else set(self.discriminator.parameters())
        return [each for each in self.parameters() if each.requires_grad and each not in against]

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        """Images (B, 3, H, W) in [0, 1], and what `tok` needs beside them -> losses. All chance is from `generator`."""
        raise TypeError(f"{type(self).__name__} must define forward")

    def discriminator_loss(self, images: Tensor, output: TokenizerOutput) -> Tensor:
        """What the discriminator minimises, after the tokenizer's step."""
        raise TypeError(f"{type(self).__name__} has no discriminator")


class Reconstruction(Objective):
    """Pixels come back: pixel and perceptual distances, the quantizer's own terms, optionally entropy and a PatchGAN.

    Args:
        weights: of the terms; those of terms that this tokenizer's quantizer does not return have no effect.
    """

    def __init__(self, weights: LossConfig):
        super().__init__(weights)
        if weights.perceptual:
            self.frozen.append(perceptual_loss(weights.perceptual_net, upsample=weights.perceptual_upsample))
        if weights.adversarial:
            self.discriminator = PatchDiscriminator()
            self.lecam = LeCam()

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        return self.score(tok, images, _run(tok, images, generator, conditions), step)

    def score(self, tok: nn.Module, images: Tensor, output: TokenizerOutput, step: int) -> Losses:
        """What came back for `images` -> losses."""
        images, made = images.float(), output.reconstruction.float()
        weights = self.weights
        terms: dict[str, Tensor] = {}
        if weights.mse:
            terms["mse"] = F.mse_loss(made, images)
        if weights.l1:
            terms["l1"] = F.l1_loss(made, images)
        if weights.perceptual and step >= weights.perceptual_start:
            seen = slice(weights.perceptual_images)  # batches are shuffled: their first images are any images
            terms["perceptual"] = self.frozen[0](made[seen], images[seen])
        for name, value in output.losses.items():
            if weights.quantizer.get(name):
                terms[name] = value
        if weights.entropy:
            terms["entropy"] = _code_entropy(tok, output.latents)
        if self.discriminator is not None and step >= weights.adversarial_start:
            terms["adversarial"] = hinge_generator_loss(self.discriminator(made))
        scale = {name: getattr(weights, name, None) or weights.quantizer.get(name, 0.0) for name in terms}
        total = torch.stack([scale[name] * value for name, value in terms.items()]).sum()
        return Losses(total, terms, output)

    def discriminator_loss(self, images: Tensor, output: TokenizerOutput) -> Tensor:
        if self.discriminator is None:
            raise ValueError("this objective has no discriminator: loss.adversarial is 0")
        real, fake = self.discriminator(images.float()), self.discriminator(output.reconstruction.detach().float())
        loss = hinge_discriminator_loss(real, fake)
        if self.weights.lecam:
            loss = loss + self.weights.lecam * self.lecam(real, fake)
        return loss


class ProxyCodes(Objective):
    """Stage 1 of TiTok: the decoder names the codes that a frozen grid tokenizer gives. arXiv:2406.07550, 3.3.

    Args:
        teacher: tokenizer with one code per patch of the student.
        weights: those of the quantizer's terms are used.
    """

    def __init__(self, teacher: VisualTokenizer, weights: LossConfig):
        super().__init__(weights)
        self.frozen.append(teacher.eval().requires_grad_(False))

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        with torch.no_grad():
            wanted = self.frozen[0].encode(images).indices  # type: ignore[operator]  # (B, h * w)
        output = _run(tok, images, generator, conditions)
        logits = output.reconstruction.float().flatten(2)  # (B, K, h * w)
        terms = {"cross_entropy": F.cross_entropy(logits, wanted)}
        total = terms["cross_entropy"]
        for name, value in output.losses.items():
            if self.weights.quantizer.get(name):
                terms[name] = value
                total = total + self.weights.quantizer[name] * value
        return Losses(total, terms, output)


def _run(tok: nn.Module, images: Tensor, generator: torch.Generator, conditions: dict[str, Tensor]) -> TokenizerOutput:
    """Some quantizers train on draws; a codebook draws nothing, and its graph compiles without a generator."""
    plain: Any = getattr(tok, "module", tok)  # DDP wraps in `module`
    options: dict[str, Any] = {**plain.training_draws(images, generator), **conditions}
    if plain.quantizer.draws:
        options |= dict(sample=True, generator=generator)
    output: TokenizerOutput = tok(images, **options)
    return output


def _code_entropy(tok: nn.Module, latents: Tensor) -> Tensor:
    quantizer: Quantizer = getattr(tok, "module", tok).quantizer  # type: ignore[assignment]  # DDP wraps in `module`
    return quantizer.entropy(latents).loss
