"""One small quantizer of every kind, by name, as the tests use them."""

import torch

from tokzoo import shelf
from tokzoo.parts import Quantizer

VQ = dict(name="vq", codebook_size=24, code_dim=4)
DISCRETE = {
    "bae": dict(name="bae", num_bits=6, code_dim=5),
    "bsq": dict(name="bsq", code_dim=6),
    "dimension_wise": dict(name="dimension_wise", code_dim=3, num_levels=16),
    "fsq": dict(name="fsq", levels=(8, 5, 5)),
    "fsq_listed": dict(name="fsq_listed", levels=(8, 5, 2)),
    "fsq_slots": dict(name="fsq", levels=(4, 4, 4, 4), slots=(2, 2)),
    "fsq_symmetric": dict(name="fsq_symmetric", levels=(2, 3, 4)),
    "gfq": dict(name="gfq", code_dim=6, num_groups=3),
    "gumbel": dict(name="gumbel", codebook_size=12, code_dim=4),
    "ibq": dict(name="ibq", codebook_size=24, code_dim=4),
    "kmeans_start": dict(name="kmeans_start", inner=VQ),
    "lfq": dict(name="lfq", code_dim=6),
    "lfq_wide": dict(name="lfq", code_dim=70),
    "multi_scale": dict(name="multi_scale", quantizer=VQ, scales=(1, 2, 4)),
    "multi_scale_phi": dict(name="multi_scale_phi", quantizer=VQ, scales=(1, 3, 4)),
    "perturbed": dict(name="perturbed", inner=VQ, images=0.5, neighbours=4),
    "perturbed_fsq": dict(name="perturbed", inner=dict(name="fsq", levels=(4, 4)), images=0.5, neighbours=4),
    "product": dict(name="product", quantizers=[VQ, dict(name="fsq", levels=(3, 3))]),
    "residual": dict(name="residual", quantizers=VQ, depth=3),
    "revived": dict(name="revived", inner=VQ, every=2),
    "shared_index": dict(name="shared_index", codebook_size=24, code_dims=(3, 2)),
    "streaming_average": dict(name="streaming_average", inner=VQ, scales=(1, 2, 4)),
    "unit_latents": dict(name="unit_latents", inner=VQ),
    "vq": VQ,
    "vq_cosine": dict(VQ, normalize=True),
    "vq_direction": dict(VQ, name="vq_direction"),
    "vq_ema": dict(VQ, name="vq_ema"),
    "vq_frozen": dict(VQ, name="vq_frozen"),
    "vq_of_one": dict(VQ, codebook_size=1),
    "vq_rotation": dict(VQ, through="rotation"),
    "vq_sim": dict(VQ, name="vq_sim"),
}
CONTINUOUS = {
    "kl": dict(name="kl", code_dim=4),
    "none": dict(name="none", code_dim=4),
    "soft_vq": dict(name="soft_vq", codebook_size=24, code_dim=4, num_codebooks=2),
}
ALL = {**DISCRETE, **CONTINUOUS}
TOKENS = 16  # a plane of 4 x 4, as the multi-scale ones want


def make(name: str) -> Quantizer:
    """The quantizer of `name`, in eval mode, its codebooks spread out."""
    torch.manual_seed(0)
    quantizer = shelf.build_quantizer(ALL[name])
    with torch.no_grad():
        for key, value in quantizer.state_dict().items():
            if "codebook" in key:
                value.copy_(torch.randn(value.shape))
    return quantizer.eval()


def latents_for(quantizer: Quantizer, batch: int = 3, *, seed: int = 0) -> torch.Tensor:
    """Normal latents (batch, 16, C) of the width that `quantizer` takes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, TOKENS, quantizer.latent_dim, generator=generator)
