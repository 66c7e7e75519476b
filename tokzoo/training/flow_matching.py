"""Training of tokenizers that draw by a flow: FlexTok, arXiv:2502.13967, sections 3.2 and 3.3.

The authors' training is not released: what the paper and derivatives of their configuration say is here, under names.

B batch, P patches, D width, F features of a teacher.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo.diffusion.flow import Density, draw_times
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.tokenizers.flextok.model import Flextok, FlowDraw
from tokzoo.training.config import LossConfig
from tokzoo.training.objectives import Losses, Objective

Lengths = Literal["uniform", "powers_of_two", "uniform_powers_of_two"]
Teacher = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [0, 1] -> features on a grid (B, F, h, w)

FROZEN = (  # the autoencoder, which is trained before, and positions that are waves
    "encoder.latents",
    "decoder.painter",
    "encoder.positions",
    "decoder.velocity.positions",
)


def draw_lengths(count: int, most: int, how: Lengths, *, generator: torch.Generator) -> Tensor:
    """How many of `most` tokens are kept, int64 (count,): nested dropout, arXiv:1402.0915.

    Args:
        how: `uniform`, 1 to `most`; `powers_of_two`, each of 1, 2, 4 ... as likely; `uniform_powers_of_two`, uniform,
            then up to the next power of two, and never above `most`.

    Raises:
        ValueError: an unknown way.
    """
    device = generator.device
    if how == "powers_of_two":
        return 2 ** torch.randint(most.bit_length(), (count,), generator=generator, device=device)
    drawn = torch.randint(1, most + 1, (count,), generator=generator, device=device)
    if how == "uniform":
        return drawn
    if how == "uniform_powers_of_two":
        powers = 2 ** torch.arange(most.bit_length() + 1, device=device)
        return powers[torch.searchsorted(powers, drawn)].clamp(max=most)
    raise ValueError(f"how must be uniform, powers_of_two or uniform_powers_of_two; got {how!r}")


class FlowMatching(Objective):
    """The velocity from picture to noise, at drawn moments and with drawn lengths; optionally REPA beside it.

    The term `flow` is the mean square of the velocity's error, weighted by `weights.mse`. REPA (arXiv:2410.06940) asks
    that patches early in the decoder, after a small network, point where a frozen `teacher`'s features of the clean
    picture do: the term `alignment`, 1 minus the mean cosine.

    Args:
        density, mode_scale: of the moments, as `draw_times` says.
        lengths: as `draw_lengths` says.
        null_chance: of a picture without condition, for guidance.
        teacher: a network, e.g. `timm_teacher(...)`; with the width of its features and the weight of the term.
        width: of the decoder, where there is a teacher.
        tap: the block of the decoder whose patches are looked at.
    """

    def __init__(
        self,
        weights: LossConfig,
        *,
        density: Density = "mode",
        mode_scale: float = 0.25,
        lengths: Lengths = "powers_of_two",
        null_chance: float = 0.1,
        teacher: nn.Module | None = None,
        teacher_width: int = 0,
        width: int = 0,
        alignment: float = 1.0,
        tap: int = 1,
    ):
        super().__init__(weights)
        self.density, self.mode_scale, self.lengths = density, mode_scale, lengths
        self.null_chance = null_chance
        self.alignment = alignment
        self.tap = tap
        self.project: nn.Sequential | None = None
        if teacher is not None:
            self.frozen.append(teacher.eval().requires_grad_(False))
            self.project = nn.Sequential(
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, teacher_width)
            )

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        plain: Any = getattr(tok, "module", tok)  # DDP wraps in `module`
        draw = self.draw(plain, images, generator)
        output = tok(images, draw=draw, tap=None if self.project is None else self.tap, **conditions)
        velocity, target = output.aux["velocity"].float(), output.aux["target"].float()
        terms = {"flow": F.mse_loss(velocity, target)}
        total = self.weights.mse * terms["flow"]
        if self.project is not None:
            terms["alignment"] = self.misalignment(output.aux["tapped"], images, plain.patch_side)
            total = total + self.alignment * terms["alignment"]
        return Losses(total, terms, output)

    def draw(self, tok: Flextok, images: Tensor, generator: torch.Generator) -> FlowDraw:
        """A step's chance, all of it from `generator`, on the images' device."""
        decoder, count = tok._decoder(), len(images)
        size = (decoder.channels, *(side // decoder.downsample for side in images.shape[2:]))
        device = generator.device
        drawn = FlowDraw(
            times=draw_times(count, self.density, generator=generator, mode_scale=self.mode_scale),
            noise=torch.randn(count, *size, generator=generator, device=device),
            lengths=draw_lengths(count, tok.config.num_registers, self.lengths, generator=generator),
            null=torch.rand(count, generator=generator, device=device) < self.null_chance,
        )
        return FlowDraw(*(each.to(images.device) for each in drawn))

    def misalignment(self, tapped: Tensor, images: Tensor, patch_size: int) -> Tensor:
        """Patches (B, P, D) after a block, and the pictures -> 1 minus the mean cosine with the teacher's features."""
        with torch.no_grad():
            wanted = self.frozen[0](images.float()).float()  # (B, F, h, w)
        rows, columns = (side // patch_size for side in images.shape[2:])
        plane = F.interpolate(to_map(tapped.float(), rows, columns), size=wanted.shape[2:], mode="bilinear")
        assert self.project is not None
        return 1 - F.cosine_similarity(self.project(to_tokens(plane)), to_tokens(wanted), dim=-1).mean()


class TimmTeacher(nn.Module):
    """A frozen network of timm's as a teacher: its last feature map, or its patches without prefix tokens.

    Args:
        network: a timm model; the authors take DINOv2-L, `vit_large_patch14_dinov2.lvd142m`. Any other works offline.
        size: pixels per side that pictures are brought to.

    Shapes:
        images (B, 3, H, W) in [0, 1] -> (B, F, h, w)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, size: int):
        super().__init__()
        self.network = network
        self.size = size
        about = network.pretrained_cfg
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(about[name]).view(3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """F, channels of a feature."""
        return int(self.network.num_features)

    def forward(self, images: Tensor) -> Tensor:
        sized = F.interpolate(images, size=self.size, mode="bicubic", antialias=True)
        features: Tensor = self.network.forward_features((sized - self.mean) / self.std)
        if features.ndim == 4:
            return features
        patches = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
        side = round(patches.shape[1] ** 0.5)
        return to_map(patches, side, side)


@torch.no_grad()
def initialise(tok: Flextok) -> None:
    """Untrained transformers as muP (arXiv:2203.03466) wants them: readouts and modulation 0, matrices by their width.

    So the first velocity is 0 and every block begins as the one without gates open. The autoencoder stays as it is.
    """
    velocity: Any = tok._decoder().velocity
    encoder: Any = tok._encoder()
    for half in (encoder, velocity):
        for name, layer in half.named_modules():
            if isinstance(layer, nn.Linear) and not name.startswith("latents."):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    for layer in (velocity.to_patch, velocity.head_modulation, *(block.modulation for block in velocity.blocks)):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    for token in (encoder.registers, velocity.register_positions, velocity.mask_token, velocity.null_token):
        nn.init.trunc_normal_(token, std=0.02)
