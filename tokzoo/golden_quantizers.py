"""The numbers of bare quantizers under the names of their golden cases; `golden.COMPONENTS` lists these adapters."""

import torch
from torch import Tensor

from tokzoo.golden import Case
from tokzoo.quantizers.dimension_wise import DimensionWiseQuantizer, normal_borders, normal_levels
from tokzoo.quantizers.fsq import FiniteScalarQuantizer
from tokzoo.quantizers.perturbation import PerturbedQuantizer, annealed_strength, choose
from tokzoo.quantizers.vector import VectorQuantizer


def run_fsq(case: Case) -> dict[str, Tensor]:
    """FSQ in FlexTok's form."""
    quantizer = FiniteScalarQuantizer(case.config["levels"])
    latents, grid = torch.from_numpy(case.inputs["z"]), torch.from_numpy(case.inputs["grid"])
    made, on_grid = quantizer(latents), quantizer(grid.unsqueeze(0))
    ids = torch.from_numpy(case.inputs["ids"])
    return {
        "bounded": quantizer.bound(latents),
        "quant": made.codes,
        "tokens": quantizer.index(latents),
        "grid_quant": on_grid.codes.squeeze(0),
        "grid_tokens": quantizer.index(grid.unsqueeze(0)).squeeze(0),
        "ids": ids,
        "ids_embedding": quantizer.decode(ids.unsqueeze(0)).squeeze(0),
        "basis": quantizer.digits.weights.int(),
    }


def run_dimension_wise(case: Case) -> dict[str, Tensor]:
    """TokenBridge's quantizer at every number of levels."""
    about = case.config
    low, high, reach = about["min_range"], about["max_range"], about["std_range"]
    values, grid = torch.from_numpy(case.inputs["x"]), torch.from_numpy(case.inputs["grid"])
    ours: dict[str, Tensor] = {}
    for count in case.settings["levels"]:
        quantizer = DimensionWiseQuantizer(1, count, low=low, high=high, reach=reach)
        quantizer.load_values(torch.from_numpy(case.recorded[f"recon_{count}"]))  # a buffer of the published file
        made = quantizer(values.unsqueeze(-1))
        ours |= {
            f"indices_{count}": quantizer.index(values.unsqueeze(-1)),
            f"values_{count}": made.codes.squeeze(-1),
            f"grid_indices_{count}": quantizer.index(grid.view(1, -1, 1)).squeeze(0),
            f"boundaries_{count}": normal_borders(count, reach),
            f"recon_{count}": normal_levels(count, reach),
        }
    other = case.settings["range3"]
    narrow = DimensionWiseQuantizer(1, other["levels"], low=other["min_range"], high=other["max_range"], reach=reach)
    narrow.load_values(torch.from_numpy(case.recorded[f"recon_{other['levels']}"]))
    latents, count = values.unsqueeze(-1), other["levels"]
    ours[f"range3_indices_{count}"] = narrow.index(latents)
    ours[f"range3_values_{count}"] = narrow(latents).codes.squeeze(-1)
    return ours


def run_perturbation(case: Case) -> dict[str, Tensor]:
    """RobusTok's neighbours, with recorded and with drawn chances."""
    latents = torch.from_numpy(case.inputs["z"]).flatten(2).transpose(1, 2)
    codebook = torch.from_numpy(case.inputs["codebook"])
    recorded = (torch.from_numpy(case.inputs["random_prob"]), torch.from_numpy(case.inputs["random_idx"]))

    def wrapped(setting: str) -> PerturbedQuantizer:
        about = case.settings[setting]
        inner = VectorQuantizer(*codebook.shape, normalize=about["codebook_norm"])
        inner.codebook.data = codebook
        return PerturbedQuantizer(inner, tokens=about["alpha"], images=about["beta"], neighbours=about["delta"]).train()

    def injected(setting: str) -> Tensor:
        quantizer = wrapped(setting)
        chosen = choose(quantizer.nearest(latents, quantizer.neighbours), *recorded, quantizer.tokens)
        affected = int(len(latents) * quantizer.images)
        plain = torch.from_numpy(case.inputs["z_q"])
        return torch.cat([as_plane(quantizer.decode(chosen.view(latents.shape[:2])))[:affected], plain[affected:]])

    about = case.settings["perturbed_torch_seed1234"]
    count = latents.shape[0] * latents.shape[1]
    generator = torch.Generator().manual_seed(about["torch_seed"])
    chance, rank = torch.rand(count, generator=generator), torch.randint(about["delta"], (count,), generator=generator)
    drawn = wrapped("perturbed_torch_seed1234")(latents, generator=generator.manual_seed(about["torch_seed"])).codes
    anneal = case.settings["anneal"]
    strengths = [
        annealed_strength(epoch, start=anneal["anneal_start"], end=anneal["anneal_end"], final=anneal["end_ratio"])
        for epoch in case.inputs["anneal_epochs"].tolist()
    ]
    table = [[one, int(one * anneal["delta"]), one * anneal["alpha"]] for one in strengths]
    return {
        "neighbours": wrapped("perturbed").nearest(latents, case.settings["perturbed"]["delta"]),
        "perturbed": injected("perturbed"),
        "perturbed_nonorm_all": injected("perturbed_nonorm_all"),
        "torch_seed1234_rand": chance,
        "torch_seed1234_randint": rank,
        "perturbed_torch_seed1234": as_plane(drawn),
        "anneal": torch.tensor(table, dtype=torch.float64),
    }


def as_plane(codes: Tensor) -> Tensor:
    """(B, h w, C) of a square plane -> (B, C, h, w)."""
    side = round(codes.shape[1] ** 0.5)
    return codes.transpose(1, 2).unflatten(-1, (side, side))
