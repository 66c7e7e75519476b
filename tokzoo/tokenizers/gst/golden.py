"""GST's numbers, of the code as released, under the names of its golden case."""

import torch
from torch import Tensor

from tokzoo.conversion import rename_keys
from tokzoo.encoders.gaussian_lift_released import ReleasedGaussianLiftEncoder
from tokzoo.golden import Case
from tokzoo.layers.camera import default_intrinsics, lift
from tokzoo.layers.fourier import octave_code
from tokzoo.layers.projection import Gaussians3D
from tokzoo.losses.depth import scale_invariant_log
from tokzoo.tokenizers.gst.weights import RULES


def run(case: Case) -> dict[str, Tensor]:
    config = case.config
    features, depth, camera = (case.image(name).float() for name in ("features", "depth", "K"))
    encoder = ReleasedGaussianLiftEncoder(
        patch_size=config["patch_size"],
        num_tokens=config["N_g"],
        feature_width=config["d_sem"],
        head_widths=(512, 512),
        octaves=config["fourier_bands"],
        num_heads=config["attn_heads"],
        width=config["d_gst"],
    )
    encoder.load_state_dict(rename_keys(case.weights, RULES))
    encoder.to(device=case.device).eval()
    images = depth.new_zeros(len(depth), 3, *depth.shape[1:])
    unknown = default_intrinsics((depth.shape[1], depth.shape[2])).to(depth.device)
    middle = slice(config["patch_size"] // 2, None, config["patch_size"])
    raw = encoder.read(images, depth, camera, features)
    assert raw.geometry is not None
    gaussians = Gaussians3D.unpack(raw.geometry)
    points = raw.aux["points"]
    return {
        "patch_depth": depth[:, middle, middle].flatten(1).unsqueeze(2),
        "lifted": lift(depth, camera)[:, :, middle, middle].flatten(2).transpose(1, 2),
        "points": points,
        "centroid": gaussians.mean,
        "log_scale": gaussians.covariance.diagonal(dim1=-2, dim2=-1).log() / 2,
        "alpha": gaussians.opacity.unsqueeze(2),
        "fourier": octave_code(gaussians.mean, config["fourier_bands"]),
        "fourier6": octave_code(points, 6),
        "tokens": encoder(images, depth, camera, features).latents,
        "tokens_default_K": encoder(images, depth, unknown.expand(len(depth), 3, 3), features).latents,
        "default_K": unknown,
        "silog": scale_invariant_log(depth, case.image("depth2").float(), torch.ones_like(depth, dtype=torch.bool))[
            None
        ],
    }
