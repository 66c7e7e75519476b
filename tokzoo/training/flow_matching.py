"""Training of tokenizers that draw by a flow: FlexTok, arXiv:2502.13967, sections 3.2 and 3.3.

The authors' training is not released: what the paper and derivatives of their configuration say is here, under names.

B batch, P patches, D width, F features of a teacher.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokzoo import _state
from tokzoo._torchvision import import_with_torchvision
from tokzoo.diffusion.flow import draw_times
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.losses.perceptual import EfficientNetLite0Features
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokenizers.flextok.model import Flextok, FlowDraw
from tokzoo.training.config import FlowConfig, LossConfig
from tokzoo.training.objectives import Losses, Objective

FROZEN = (  # the autoencoder, which is trained before, and positions that are waves
    "encoder.latents",
    "decoder.painter",
    "encoder.positions",
    "decoder.velocity.positions",
)


def draw_lengths(count: int, most: int, how: str, *, generator: torch.Generator) -> Tensor:
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
        flow: what is drawn, and the weight and place of REPA.
        teacher: images (B, 3, H, W) in [0, 1] to features on a grid (B, F, h, w), F its `width`; None: no REPA.
        width: D, of the decoder, where there is a teacher.
    """

    def __init__(
        self,
        weights: LossConfig,
        flow: FlowConfig = FlowConfig(),  # noqa: B008  # frozen
        *,
        teacher: "Teacher | None" = None,
        width: int = 0,
    ):
        super().__init__(weights)
        self.flow = flow
        self.project: nn.Sequential | None = None
        if teacher is not None:
            self.frozen.append(teacher.eval().requires_grad_(False))
            self.project = nn.Sequential(
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, teacher.width)
            )

    def forward(
        self, tok: nn.Module, images: Tensor, step: int, generator: torch.Generator, **conditions: Tensor
    ) -> Losses:
        plain: Any = getattr(tok, "module", tok)  # DDP wraps in `module`
        draw = self.draw(plain, images, generator)
        output = tok(images, draw=draw, tap=None if self.project is None else self.flow.repa_tap, **conditions)
        velocity, target = output.aux["velocity"].float(), output.aux["target"].float()
        terms = {"flow": F.mse_loss(velocity, target)}
        total = self.weights.mse * terms["flow"]
        if self.project is not None:
            seen = slice(self.flow.repa_images)
            terms["alignment"] = self.misalignment(output.aux["tapped"][seen], images[seen], plain.patch_side)
            total = total + self.flow.repa_weight * terms["alignment"]
        return Losses(total, terms, output)

    def draw(self, tok: Flextok, images: Tensor, generator: torch.Generator) -> FlowDraw:
        """A step's chance, all of it from `generator`, on the images' device."""
        decoder: Any = tok._decoder()
        count, flow = len(images), self.flow
        size = (decoder.channels, *(side // decoder.downsample for side in images.shape[2:]))
        device = generator.device
        drawn = FlowDraw(
            times=draw_times(count, flow.density, generator=generator, mode_scale=flow.mode_scale),
            noise=torch.randn(count, *size, generator=generator, device=device),
            lengths=draw_lengths(count, tok.config.num_registers, flow.lengths, generator=generator),
            null=torch.rand(count, generator=generator, device=device) < flow.null_chance,
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


class Teacher(nn.Module):
    """A frozen network whose features of a picture lie on a grid: images (B, 3, H, W) in [0, 1] -> (B, F, h, w)."""

    __call__: Callable[[Tensor], Tensor]

    @property
    def width(self) -> int:
        """F, channels of a feature."""
        raise TypeError(f"{type(self).__name__} must say its width")


class TimmTeacher(Teacher):
    """A network of timm's: its last feature map, or its patches without prefix tokens.

    Args:
        network: a timm model; the authors take DINOv2-L, `vit_large_patch14_dinov2.lvd142m`.
        size: pixels per side that pictures are brought to.
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
        return int(self.network.num_features)

    def forward(self, images: Tensor) -> Tensor:
        sized = F.interpolate(images, size=self.size, mode="bicubic", antialias=True)
        features: Tensor = self.network.forward_features((sized - self.mean) / self.std)
        if features.ndim == 4:
            return features
        patches = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
        side = round(patches.shape[1] ** 0.5)
        return to_map(patches, side, side)


class EfficientNetTeacher(Teacher):
    """EfficientNet-Lite0's map of one feature per 16 pixels, whose weights pip brings.

    Args:
        size: pixels per side that pictures are brought to.
    """

    def __init__(self, size: int):
        super().__init__()
        self.features = EfficientNetLite0Features()
        self.size = size

    @property
    def width(self) -> int:
        return 112

    def forward(self, images: Tensor) -> Tensor:
        sized = F.interpolate(images, size=self.size, mode="bicubic", antialias=True)
        maps: list[Tensor] = self.features(sized)
        return maps[3]


def build_teacher(flow: FlowConfig) -> Teacher | None:
    """The network that `flow.repa` names, with its weights.

    Raises:
        RuntimeError: timm knows no such network.
    """
    if flow.repa is None:
        return None
    if flow.repa == "effnet_lite0":
        return EfficientNetTeacher(flow.repa_size)
    timm = import_with_torchvision("timm")
    sized = {"img_size": flow.repa_size} if flow.repa.startswith("vit") else {}
    return TimmTeacher(timm.create_model(flow.repa, pretrained=True, num_classes=0, **sized), flow.repa_size)


def lend(tok: Flextok, vae: VisualTokenizer) -> None:
    """Gives `tok` the weights of the autoencoder that it stands on.

    Raises:
        ValueError: a FlexTok of pixels, or weights of other names or shapes.
    """
    if tok.config.vae is None:
        raise ValueError("this FlexTok reads pixels: it stands on no autoencoder, so leave teacher= out")
    own = tok.state_dict()
    lent = _state.renamed(vae.state_dict(), tok.base_keys)
    _state.check_fit(
        {key: value for key, value in own.items() if key.startswith(tuple(tok.base_keys))}, lent, f"teacher={vae.name}"
    )
    tok.load_state_dict({**own, **lent})


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
