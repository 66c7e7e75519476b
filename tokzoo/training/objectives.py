"""What a stage minimises. An objective owns all that is not the tokenizer: teachers, discriminators, statistics.

B batch, H W pixels, L tokens, C channels, K codebook_size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.layers.precision import without_autocast
from tokzoo.losses.adversarial import LeCam, PatchDiscriminator, hinge_discriminator_loss, hinge_generator_loss
from tokzoo.losses.entropy import entropy_loss
from tokzoo.losses.perceptual import perceptual_loss
from tokzoo.quantizers.gaussian import GaussianBottleneck
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.training.config import LossConfig

ENTROPY_TEMPERATURE = 0.01  # of the squared distances between unit vectors, arXiv:2310.05737
USAGE_DECAY = 0.99
DEAD_SHARE = 0.02  # of the mean use, below which a code is dead


class Losses(NamedTuple):
    """`total` is what is minimised; `terms` are its unweighted parts by name."""

    total: Tensor
    terms: dict[str, Tensor]
    output: TokenizerOutput


class Objective(nn.Module):
    """Base: a loss of a tokenizer on a batch.

    Parameters and buffers of an objective are saved with the run; `frozen` is a plain list: its networks are not.
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


class CodeUse(nn.Module):
    """Running use of a codebook: which share lives, how evenly, and new places for dead codes.

    Args:
        codebook_size: K.
    """

    counts: Tensor

    def __init__(self, codebook_size: int):
        super().__init__()
        self.register_buffer("counts", torch.zeros(codebook_size))

    @torch.no_grad()
    def update(self, indices: Tensor) -> None:
        """Takes in the indices (B, L) of a batch."""
        seen = torch.bincount(indices.flatten(), minlength=len(self.counts)).to(self.counts)
        self.counts.lerp_(seen, 1 - USAGE_DECAY)

    def usage(self) -> float:
        """Share of codes that are not dead."""
        return float((self.counts > DEAD_SHARE * self.counts.mean()).float().mean())

    def perplexity(self) -> float:
        """exp of the entropy of the running use, in codes."""
        shares = self.counts / self.counts.sum().clamp_min(1e-12)
        return float((-(shares * shares.clamp_min(1e-12).log()).sum()).exp())

    @torch.no_grad()
    def revive(self, quantizer: VectorQuantizer, latents: Tensor, generator: torch.Generator) -> int:
        """Moves dead codes onto latents (B, L, C) drawn at random (arXiv:2005.00341, section 3.1); returns how many."""
        dead = (self.counts <= DEAD_SHARE * self.counts.mean()).nonzero().squeeze(1)
        points = latents.detach().flatten(0, 1).float()
        if quantizer.normalize:
            points = F.normalize(points, dim=-1)
        chosen = torch.randint(len(points), (len(dead),), generator=generator, device=generator.device)
        quantizer.codebook[dead] = points[chosen.to(points.device)].to(quantizer.codebook)
        self.counts[dead] = self.counts.mean()
        return len(dead)


def _run(tok: nn.Module, images: Tensor, generator: torch.Generator, conditions: dict[str, Tensor]) -> TokenizerOutput:
    """A continuous bottleneck trains on draws; a codebook draws nothing, and its graph compiles without a generator."""
    plain = getattr(tok, "module", tok)  # DDP wraps in `module`
    options: dict[str, Any] = {**conditions, **plain.training_draws(generator)}
    if isinstance(plain.quantizer, GaussianBottleneck):
        options |= dict(sample=True, generator=generator)
    output: TokenizerOutput = tok(images, **options)
    return output


def _code_entropy(tok: nn.Module, latents: Tensor) -> Tensor:
    quantizer = getattr(getattr(tok, "module", tok), "quantizer", None)  # DDP wraps in `module`
    if not isinstance(quantizer, VectorQuantizer):
        raise ValueError("loss.entropy is for tokenizers with a codebook; set it to 0")
    points = latents.flatten(0, -2).float()
    if quantizer.normalize:
        points = F.normalize(points, dim=-1)
    with without_autocast(points.device):
        rows = quantizer.rows()
        closeness = 2 * points @ rows.t() - rows.square().sum(
            -1
        )  # minus the squared distance, up to a constant per point
        return entropy_loss(closeness / ENTROPY_TEMPERATURE)
