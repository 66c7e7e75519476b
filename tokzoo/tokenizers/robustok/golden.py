"""RobusTok's numbers under the names of its golden cases: the model, and the perturbation alone."""

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.quantizers.perturbation import PerturbedQuantizer, annealed_strength, choose
from tokzoo.quantizers.vector import VectorQuantizer
from tokzoo.tokenizers.robustok.weights import read_config
from tokzoo.tokenizers.xqgan.golden import numbers


def run(case: Case) -> dict[str, Tensor]:
    if "random_prob" in case.inputs:
        return perturbation(case)
    undisturbed = {"alpha": 0.0, "beta": 0.0, "delta": 1}
    return numbers(build(case, read_config({**case.config, **undisturbed})), case)


def perturbation(case: Case) -> dict[str, Tensor]:
    normed, plain = (quantizer(case, normalize=normalize) for normalize in (True, False))
    latents, side = to_tokens(case.image("z")), case.inputs["z"].shape[-1]
    count = case.config["delta"]

    def disturbed(one: VectorQuantizer, share: float, images: float) -> Tensor:
        nearest = PerturbedQuantizer(one, neighbours=count).nearest(latents, count)
        chosen = choose(nearest, case.image("random_prob"), case.image("random_idx"), share)
        codes = to_map(one.decode(chosen.view(latents.shape[:2])), side, side)
        affected = int(len(codes) * images)
        return torch.cat([codes[:affected], case.image("z_q")[affected:]])

    generator = torch.Generator().manual_seed(1234)
    positions = latents.shape[0] * latents.shape[1]
    draws = {
        "torch_seed1234_rand": torch.rand(positions, generator=generator),
        "torch_seed1234_randint": torch.randint(count, (positions,), generator=generator),
    }
    seeded = PerturbedQuantizer(
        normed, tokens=case.config["alpha"], images=case.config["beta"], neighbours=count
    ).train()
    schedule = case.settings["anneal"]
    strengths = [
        annealed_strength(
            epoch, start=schedule["anneal_start"], end=schedule["anneal_end"], final=schedule["end_ratio"]
        )
        for epoch in case.inputs["anneal_epochs"].tolist()
    ]
    return draws | {
        "neighbours": PerturbedQuantizer(normed, neighbours=count).nearest(latents, count),
        "perturbed": disturbed(normed, case.config["alpha"], case.config["beta"]),
        "perturbed_nonorm_all": disturbed(plain, 1.0, 1.0),
        "perturbed_torch_seed1234": to_map(
            seeded(latents, generator=torch.Generator().manual_seed(1234)).codes, side, side
        ),
        "anneal": torch.tensor(
            [[each, int(each * schedule["delta"]), each * schedule["alpha"]] for each in strengths],
            dtype=torch.float64,
        ),
    }


def quantizer(case: Case, *, normalize: bool) -> VectorQuantizer:
    """Of the case's own codebook."""
    codebook = case.image("codebook")
    made = VectorQuantizer(*codebook.shape, normalize=normalize)
    made.replace_rows(torch.arange(len(codebook)), codebook)
    return made
