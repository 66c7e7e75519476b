"""GST, arXiv:2603.09079: a picture with depth as Gaussians in space."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from tokzoo.conditions.contract import Condition, Part
from tokzoo.decoders.gaussian_view import GaussianViewDecoder
from tokzoo.encoders.gaussian_lift import GaussianLiftEncoder
from tokzoo.encoders.gaussian_lift_released import ReleasedGaussianLiftEncoder
from tokzoo.layers.camera import check_intrinsics, default_intrinsics
from tokzoo.layers.projection import NUMBERS
from tokzoo.quantizers.identity import IdentityBottleneck
from tokzoo.tokenizers.base import TokenizerOutput, VisualTokenizer
from tokzoo.tokenizers.gst.config import GstConfig
from tokzoo.tokens import Features, Gaussians, Tokens, TokenSpec

DEPTH = "metres along the camera's axis, of any resolution; 0, negative, NaN or infinite where it is not known"
INTRINSICS = "[[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels of the images; a view of 60 degrees if not given"
FEATURES = "features of the patches, row-major, of a frozen network (the paper's is SigLIP so400m/14 at 224 pixels)"


class Gst(VisualTokenizer):
    """`num_tokens` Gaussians in space, each with features, of a picture with depth.

    `Tokens.latents` are the features; `Tokens.geometry` float32 (B, L, 10) is mean, covariance and opacity, as
    `tokzoo.layers.projection.Gaussians3D.unpack` takes them apart, in metres in the camera's frame. Tokens are in no
    order. Pictures of any sides that are multiples of the patch fit, unless features are given or the code is learned
    for places in the picture.
    """

    config: GstConfig
    encoder: GaussianLiftEncoder | ReleasedGaussianLiftEncoder | None
    decoder: GaussianViewDecoder | None

    def __init__(self, config: GstConfig):
        super().__init__(config)
        check_config(config)
        self.encoder = build_encoder(config)
        self.quantizer = IdentityBottleneck(config.width)
        self.decoder = GaussianViewDecoder(
            image_size=config.image_size,
            code_dim=config.width,
            paint_width=config.paint_width,
            cutoff=config.cutoff,
        )

    @property
    def multiple_of(self) -> int | None:
        fixed = self.config.feature_depth is None or self.config.code == "picture"
        return None if fixed else self.config.patch_size

    @property
    def token_spec(self) -> TokenSpec:
        config = self.config
        return TokenSpec(
            layout=Gaussians(config.num_tokens),
            levels=None,
            channels=config.width,
            lengths=(config.num_tokens, config.num_tokens),
        )

    @property
    def conditions(self) -> dict[str, Condition]:
        config = self.config
        needed = {
            "depth": Condition(shape=(None, None), what=DEPTH, parts=("encode",), exact=True),
            "intrinsics": Condition(
                shape=(3, 3), what=INTRINSICS, parts=("encode", "decode"), prepared=True, exact=True
            ),
        }
        if config.feature_depth is None:
            shape = (config.num_patches, config.feature_width)
            needed["features"] = Condition(shape=shape, what=FEATURES, parts=("encode",))
        return needed

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        """The intrinsics of a camera of which nothing is known: give your own instead."""
        self._check_images(images)
        return {"intrinsics": self._default_intrinsics(images, (images.shape[2], images.shape[3]))}

    def forward(
        self, images: Tensor, *, sample: bool = False, generator: torch.Generator | None = None, **conditions: Tensor
    ) -> TokenizerOutput:
        """Encodes and decodes with gradients; `aux` holds the depth that is seen (B, H, W), `spread` and `cover`."""
        conditions = conditions if "intrinsics" in conditions else {**self.prepare(images), **conditions}
        features, quantized = self._quantize(images, sample=sample, generator=generator, conditions=conditions)
        tokens = self._to_tokens(images, features, quantized)
        placed = features._replace(latents=quantized.codes.to(self.dtype), extent=tokens.extent)
        decoder = self._camera()
        view = decoder.view(placed, conditions["intrinsics"])
        seen = {"depth": view.depth, "spread": view.spread, "cover": view.cover}
        return TokenizerOutput(
            decoder.colour(view.paint),
            features.latents,
            tokens,
            quantized.codes,
            quantized.losses,
            {**features.aux, **seen},
        )

    def decode(
        self,
        tokens: Tokens,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        clamp: bool = True,
        **conditions: Tensor,
    ) -> Tensor:
        """Tokens -> images, as the camera of `intrinsics` sees them; without, one of 60 degrees, as in `encode`."""
        self._check_tokens(tokens)
        given = self._with_camera(tokens, conditions)
        return super().decode(tokens, noise=noise, generator=generator, clamp=clamp, **given)

    def decode_depth(self, tokens: Tokens, **conditions: Tensor) -> Tensor:
        """Tokens -> the depth that the camera of `intrinsics` sees (B, H, W), metres; their mean where none is."""
        self._check_tokens(tokens)
        given = self._conditions("decode", self._with_camera(tokens, conditions), len(tokens))
        return self._camera().view(self._placed(tokens), **given).depth

    def gaussians(self, images: Tensor, **conditions: Tensor) -> Features:
        """The Gaussian of every patch, before pooling: latents (B, P, C), geometry (B, P, 10), `valid` (B, P)."""
        self._check_images(images)
        given = {**self.prepare(images), **conditions}
        encoder = cast(GaussianLiftEncoder, self._encoder())
        return encoder.read(images.to(self.dtype), **self._conditions("encode", given, len(images)))

    def _camera(self) -> GaussianViewDecoder:
        return cast(GaussianViewDecoder, self._decoder())

    def _with_camera(self, tokens: Tokens, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if "intrinsics" in given:
            return given
        height, width = tokens.extent or (self.image_size, self.image_size)
        assert tokens.latents is not None
        return {**given, "intrinsics": self._default_intrinsics(tokens.latents, (height, width))}

    def _default_intrinsics(self, like: Tensor, size: tuple[int, int]) -> Tensor:
        return default_intrinsics(size).to(like.device).expand(len(like), 3, 3)

    def _conditions(self, part: Part, given: dict[str, Tensor], count: int) -> dict[str, Tensor]:
        picked = super()._conditions(part, given, count)
        if torch.compiler.is_compiling() or picked["intrinsics"].device.type == "meta":
            return picked
        check_intrinsics(picked["intrinsics"])
        return picked

    def _check_tokens(self, tokens: Tokens) -> None:
        super()._check_tokens(tokens)
        length = tokens.num_tokens
        if tokens.geometry is None or tuple(tokens.geometry.shape[1:]) != (length, NUMBERS):
            raise ValueError(
                f"tokens that lie on {length} Gaussians need geometry (B, {length}, {NUMBERS}): mean, covariance, "
                f"opacity; got {None if tokens.geometry is None else tuple(tokens.geometry.shape)}"
            )


def build_encoder(config: GstConfig) -> GaussianLiftEncoder | ReleasedGaussianLiftEncoder:
    """The paper's, or that of the code that its authors released."""
    if config.released_heads is not None:
        return ReleasedGaussianLiftEncoder(
            patch_size=config.patch_size,
            num_tokens=config.num_tokens,
            feature_width=config.feature_width,
            head_widths=config.head_widths,
            octaves=config.octaves,
            num_heads=config.released_heads,
            width=config.width,
        )
    return GaussianLiftEncoder(
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_tokens=config.num_tokens,
        feature_width=config.feature_width,
        feature_depth=config.feature_depth,
        feature_heads=config.feature_heads,
        head_widths=config.head_widths,
        offset=config.offset,
        isotropic=config.isotropic,
        rotated=config.rotated,
        start_scale=config.start_scale,
        octaves=config.octaves,
        unit=config.unit,
        code=config.code,
        width=config.width,
    )


def check_config(config: GstConfig) -> None:
    """Raises ValueError where sizes do not fit each other."""
    if config.image_size % config.patch_size:
        raise ValueError(f"image_size {config.image_size} must be a multiple of the patch, {config.patch_size}")
    if config.released_heads is not None:
        released = replace(
            config, feature_depth=None, rotated=False, isotropic=False, offset=True, code="space", unit=1.0
        )
        if config != released:
            raise ValueError(
                "the released code takes given features (feature_depth=None), rotated=False, isotropic=False, "
                "offset=True, code='space' and unit=1.0"
            )
        if len(config.head_widths) != 2:
            raise ValueError(f"the released head has two hidden layers; got head_widths={config.head_widths}")
    if config.isotropic and config.rotated:
        raise ValueError("isotropic Gaussians have no directions to turn: give rotated=False with isotropic=True")
    if config.code not in ("space", "picture"):
        raise ValueError(f"code is 'space' or 'picture'; got {config.code!r}")
    if config.num_tokens < 1 or not config.unit > 0 or not config.start_scale > 0:
        raise ValueError(
            f"num_tokens must be at least 1, unit and start_scale above 0; got {config.num_tokens}, {config.unit}, "
            f"{config.start_scale}"
        )
