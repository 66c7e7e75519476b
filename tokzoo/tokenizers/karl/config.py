"""Sizes of KARL, and of the grid tokenizer that it is built on."""

from dataclasses import dataclass
from typing import Literal

from tokzoo.tokenizers.kl16_vae.config import KL16_VAE, Kl16VaeConfig
from tokzoo.tokenizers.maskgit_vqgan.config import MASKGIT_VQGAN_F16, MaskgitVqganConfig
from tokzoo.tokenizers.titok.config import VitSize


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """The grid tokenizer whose features go in and whose decoder paints.

    Args:
        kind: `vqgan`, pixels from a mixture of its codes; `vae`, from its latents; `none`: patches in, patches out
            (ours, for small models).
        vqgan, vae: sizes of either; the one that `kind` names counts.
    """

    kind: Literal["vqgan", "vae", "none"] = "vqgan"
    vqgan: MaskgitVqganConfig = MASKGIT_VQGAN_F16
    vae: Kl16VaeConfig = KL16_VAE

    @property
    def code_dim(self) -> int:
        """Channels of its features."""
        return {"vqgan": self.vqgan.code_dim, "vae": self.vae.code_dim, "none": 0}[self.kind]

    def check_fits(self, patch_size: int) -> None:
        """Raises ValueError where its places are not the patches."""
        downsample = {"vqgan": self.vqgan.downsample, "vae": self.vae.downsample, "none": patch_size}[self.kind]
        if downsample != patch_size:
            raise ValueError(
                f"the base {self.kind} has one feature per {downsample} pixels, but patch_size is {patch_size}: "
                "they must be equal"
            )


VQGAN = BaseConfig()
VAE = BaseConfig(kind="vae")


@dataclass(frozen=True, kw_only=True)
class KarlConfig:
    """Sizes of one KARL. Image sizes are pixels, widths are channels.

    Args:
        num_tokens: the usual budget of tokens; `max_tokens` the greatest.
        position_side: side of the tables of positions, of which a grid takes every so many.
        halting_width: hidden channels of what says which tokens halt.
        bottleneck: `vq`, a codebook; `none`, continuous tokens.
        normalize_codes: cosine lookup.
    """

    image_size: int = 256
    patch_size: int = 16
    num_tokens: int = 256
    max_tokens: int = 512
    position_side: int = 64
    encoder: VitSize
    decoder: VitSize
    halting_width: int = 512
    bottleneck: Literal["vq", "none"] = "vq"
    codebook_size: int = 4096
    code_dim: int = 12
    normalize_codes: bool = True
    base: BaseConfig = VQGAN

    @property
    def grid_size(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


SMALL = VitSize(width=1024, depth=8, num_heads=8)

KARL_SMALL_VQGAN = KarlConfig(encoder=SMALL, decoder=SMALL)
KARL_SMALL_VQGAN_CONTINUOUS = KarlConfig(encoder=SMALL, decoder=SMALL, bottleneck="none")
KARL_SMALL_VAE = KarlConfig(encoder=SMALL, decoder=SMALL, base=VAE)
KARL_SMALL_VAE_CONTINUOUS = KarlConfig(encoder=SMALL, decoder=SMALL, base=VAE, bottleneck="none")

KARL_NANO = KarlConfig(  # ours: 64x64 photos, up to 384 bits each; the sizes of titok_nano.photos64
    image_size=64,
    patch_size=8,
    num_tokens=32,
    max_tokens=48,
    position_side=8,
    encoder=VitSize(width=128, depth=3, num_heads=4),
    decoder=VitSize(width=128, depth=3, num_heads=4),
    halting_width=64,
    base=BaseConfig(kind="none"),
)
TINY = KarlConfig(
    image_size=16,
    patch_size=2,
    num_tokens=4,
    max_tokens=8,
    position_side=16,
    encoder=VitSize(width=32, depth=1, num_heads=2),
    decoder=VitSize(width=32, depth=1, num_heads=2),
    halting_width=16,
    codebook_size=16,
    code_dim=6,
    base=BaseConfig(
        vqgan=MaskgitVqganConfig(width=32, multipliers=(1, 2), num_blocks=1, codebook_size=16, code_dim=8),
        vae=Kl16VaeConfig(width=32, multipliers=(1, 2), num_blocks=1, code_dim=4, attention_levels=(1,)),
    ),
)
