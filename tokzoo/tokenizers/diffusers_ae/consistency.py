"""The decoder of diffusers' ConsistencyDecoderVAE, with its networks inside. B batch, C code_dim, h w latent places."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tokzoo.diffusion.flow import initial_noise
from tokzoo.layers.patches import to_map
from tokzoo.parts import Decoder
from tokzoo.tokens import Features, Grid

STEPS = 2  # those that it was distilled for


class DiffusersConsistencyDecoder(Decoder):
    """A consistency model draws the picture in two steps, with the latents beside it at every pixel.

    It reads the latents of Stable Diffusion; github.com/openai/consistencydecoder. Without a generator, what is drawn
    between the steps is the same each time.

    Args:
        vae: a whole ConsistencyDecoderVAE.
        downsample: pixels per latent side.

    Shapes:
        codes (B, h * w, C) on Grid(h, w) -> images (B, 3, H, W), nominally in [0, 1]
    """

    draws = True
    means: Tensor
    stds: Tensor

    def __init__(self, vae: Any, *, downsample: int):
        super().__init__()
        self.net = vae.decoder_unet
        self.schedule = vae.decoder_scheduler
        self.scale = float(vae.config.scaling_factor)
        self.downsample = downsample
        for name in ("means", "stds"):
            self.register_buffer(name, getattr(vae, name).clone(), persistent=False)

    def forward(
        self, codes: Features, *, noise: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        if not isinstance(codes.layout, Grid):
            raise ValueError(f"a convolutional decoder reads codes on a Grid; got {codes.layout}")
        latents = to_map(codes.latents, codes.layout.height, codes.layout.width)
        beside = F.interpolate((latents * self.scale - self.means) / self.stds, scale_factor=float(self.downsample))
        later = generator or torch.Generator().manual_seed(0)
        self.schedule.set_timesteps(STEPS, device=latents.device)
        shape = (3, *beside.shape[2:])
        start = initial_noise(len(latents), shape, latents, noise=noise, generator=generator)
        images = (start * self.schedule.init_noise_sigma).to(latents.dtype)
        for moment in self.schedule.timesteps:
            seen = torch.cat([self.schedule.scale_model_input(images, moment).to(latents.dtype), beside], dim=1)
            said = self.net(seen, moment).sample[:, :3]
            images = self.schedule.step(said, moment, images, later).prev_sample.to(latents.dtype)
        return (images + 1) / 2
