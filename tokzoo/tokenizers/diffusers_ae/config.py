"""What is said of an autoencoder of diffusers: its class, and the fields of its config.json as they come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderDC", "ConsistencyDecoderVAE", "VQModel"]


@dataclass(frozen=True, kw_only=True)
class DiffusersAeConfig:
    """One autoencoder.

    Args:
        kind: class of diffusers.
        image_size: pixels per side that it was made for; any multiple of `downsample` works.
        fields: arguments of the class, of its config.json; lists are kept as tuples.
        tile: pixels per side of the overlapping tiles that large images are cut into; None: whole images, as a decoder
            that draws needs them.
    """

    kind: Kind
    image_size: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    tile: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {name: _tuples(value) for name, value in self.fields.items()})

    @property
    def downsample(self) -> int:
        """Pixels per latent side: every level but the last halves the image."""
        widths = self.fields.get("encoder_block_out_channels") or self.fields["block_out_channels"]
        return int(2 ** (len(widths) - 1))

    @property
    def code_dim(self) -> int:
        """Channels of a token."""
        return int(self.fields.get("vq_embed_dim") or self.fields["latent_channels"])

    @property
    def scale(self) -> float:
        """What generators multiply latents by, once `shift` is taken off."""
        return float(self.fields.get("scaling_factor") or 1.0)

    @property
    def shift(self) -> float:
        """What generators take off the latents first."""
        return float(self.fields.get("shift_factor") or 0.0)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _kl(image_size: int, *, channels: int, scale: float, shift: float = 0.0, **changes: Any) -> DiffusersAeConfig:
    """Stable Diffusion's autoencoder and its descendants: f8, four levels."""
    fields = dict(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        scaling_factor=scale,
        shift_factor=shift,
    )
    return DiffusersAeConfig(kind="AutoencoderKL", image_size=image_size, fields={**fields, **changes})


def _dc(*, scale: float, **fields: Any) -> DiffusersAeConfig:
    """DC-AE f32 with 32 channels, arXiv:2410.10733."""
    widths = (128, 256, 512, 512, 1024, 1024)
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    common = dict(
        latent_channels=32,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        scaling_factor=scale,
    )
    return DiffusersAeConfig(kind="AutoencoderDC", image_size=512, fields={**common, **fields})


NO_CODE_CONVS = dict(use_quant_conv=False, use_post_quant_conv=False)
NO_SCALES = ((),) * 6
IN_NORMS = ("batch_norm",) * 3 + ("rms_norm",) * 3

SD_VAE = _kl(256, channels=4, scale=0.18215)  # published as sd_vae_ft_mse and sd_vae_ft_ema
SDXL_VAE = _kl(1024, channels=4, scale=0.13025)
SD3_VAE = _kl(1024, channels=16, scale=1.5305, shift=0.0609, **NO_CODE_CONVS)
FLUX_VAE = _kl(1024, channels=16, scale=0.3611, shift=0.1159, **NO_CODE_CONVS)
FLUX2_VAE = DiffusersAeConfig(
    kind="AutoencoderKLFlux2",
    image_size=1024,
    fields=dict(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=32,
    ),
)
DC_AE_F32C32_SANA = _dc(
    scale=0.41407,
    encoder_layers_per_block=(2, 2, 2, 3, 3, 3),
    decoder_layers_per_block=(3, 3, 3, 3, 3, 3),
    encoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    decoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    downsample_block_type="conv",
    upsample_block_type="interpolate",
)
DC_AE_F32C32_IN = _dc(
    scale=0.3189,
    encoder_layers_per_block=(0, 4, 8, 2, 2, 2),
    decoder_layers_per_block=(0, 5, 10, 2, 2, 2),
    encoder_qkv_multiscales=NO_SCALES,
    decoder_qkv_multiscales=NO_SCALES,
    decoder_norm_types=IN_NORMS,
    decoder_act_fns=("relu",) * 3 + ("silu",) * 3,
)
CONSISTENCY_DECODER = DiffusersAeConfig(
    kind="ConsistencyDecoderVAE",
    image_size=256,
    fields=dict(encoder_block_out_channels=(128, 256, 512, 512), latent_channels=4, scaling_factor=0.18215),
)
TINY = DiffusersAeConfig(
    kind="VQModel",
    image_size=16,
    fields=dict(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        num_vq_embeddings=16,
        norm_num_groups=4,
    ),
)
TINY_KL = DiffusersAeConfig(
    kind="AutoencoderKL",
    image_size=16,
    fields=dict(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.1,
    ),
)
TINY_CONSISTENCY = DiffusersAeConfig(
    kind="ConsistencyDecoderVAE",
    image_size=16,
    fields=dict(
        latent_channels=4,
        scaling_factor=0.5,
        encoder_block_out_channels=(8, 16),
        encoder_down_block_types=("DownEncoderBlock2D",) * 2,
        encoder_norm_num_groups=4,
        decoder_block_out_channels=(8, 16),
        decoder_down_block_types=("ResnetDownsampleBlock2D",) * 2,
        decoder_up_block_types=("ResnetUpsampleBlock2D",) * 2,
        decoder_layers_per_block=1,
        decoder_norm_num_groups=4,
    ),
)
TINY_DC = DiffusersAeConfig(
    kind="AutoencoderDC",
    image_size=16,
    fields=dict(
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
    ),
)
