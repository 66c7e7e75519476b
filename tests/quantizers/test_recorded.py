"""Quantizers alone on the latents that published systems recorded; the systems themselves are tests/golden's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tokzoo.golden import Case, read_case
from tokzoo.quantizers.ema import EmaVectorQuantizer
from tokzoo.quantizers.fsq import FiniteScalarQuantizer
from tokzoo.quantizers.multi_scale import MultiScaleQuantizer
from tokzoo.quantizers.product import ProductQuantizer
from tokzoo.quantizers.shared_index import SharedIndexQuantizer
from tokzoo.quantizers.sign import BinarySphericalQuantizer, GroupedBinaryQuantizer, LookupFreeQuantizer
from tokzoo.quantizers.soft import SoftVectorQuantizer
from tokzoo.quantizers.vector import VectorQuantizer

CASES = Path(__file__).parents[1] / "golden" / "cases"


def tokens(plane: Tensor) -> Tensor:
    return plane.flatten(2).transpose(1, 2)


def plane(codes: Tensor, height: int, width: int) -> Tensor:
    return codes.transpose(1, 2).unflatten(-1, (height, width))


def fsq_of_cosmos(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    made = FiniteScalarQuantizer(case.config["levels"])(tokens(recorded["prequant"]))
    return {"indices": made.indices.view(2, 4, 4).int(), "quantized": plane(made.codes, 4, 4)}


def fsq_of_signvip(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    quantizer, latents = FiniteScalarQuantizer(case.config["vq"]["fsq_levels"]), tokens(recorded["pre_quant"])
    made, first = quantizer(latents), quantizer.decode(torch.arange(50).unsqueeze(0))[0]
    return {"bounded": quantizer.bound(latents), "indices": made.indices, "codes": made.codes, "first_codes": first}


def fsq_of_atoken(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    quantizer = FiniteScalarQuantizer((4,) * 12, slots=(6, 6))
    made = quantizer(recorded["z"][None, :, :12])  # the other half was log-variances
    return {"quantized": made.codes[0], "indices": made.indices[0].int()}


def lfq_of_show_o(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    quantizer = LookupFreeQuantizer(8, first_is_high=True)
    made = quantizer(tokens(recorded["pre_quant"]))
    ids = quantizer.decode(torch.from_numpy(case.inputs["ids"]))
    return {
        "indices": made.indices,
        "quantized": plane(made.codes, 12, 12).char(),
        "codes_of_ids": plane(ids, 3, 3).char(),
        "quantizer_loss": 0.1 * 1.25 * made.losses["commitment_loss"].reshape(1),
    }


def gfq_of_wetok(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    quantizer, latents = GroupedBinaryQuantizer(16, 4), tokens(recorded["pre_quant"])
    made, entropy = quantizer(latents), quantizer.entropy(latents)
    return {
        "indices": made.indices.view(2, 8, 16, 4),
        "per_sample_entropy": entropy.per_token.reshape(1),
        "codebook_entropy": entropy.overall.reshape(1),
        "entropy_aux": entropy.loss.reshape(1),
        "commitment": made.losses["commitment_loss"].reshape(1),
    }


def bsq_of_bsq_vit(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    quantizer, latents = BinarySphericalQuantizer(18), recorded["latent"]
    made, entropy = quantizer(latents), quantizer.entropy(latents)
    total = entropy.loss + 0.25 * 18 * made.losses["commitment_loss"]  # theirs sums over channels
    return {
        "indices": made.indices,
        "group_indices": BinarySphericalQuantizer(18, slot_bits=(1,) * 18)(latents).indices,
        "quantized": made.codes,
        "losses": torch.stack([entropy.per_token, entropy.overall, total]),
    }


def pyramid_of_infinity(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    inner, scales = BinarySphericalQuantizer(16), [scale[1:] for scale in case.config["scale_schedule"]]
    quantizer = MultiScaleQuantizer(inner, scales, upsampling="bilinear")
    made = quantizer(tokens(recorded["latent"]))
    return {"bits": inner.digits.unpack(made.indices).to(recorded["bits"]), "quantized": plane(made.codes, *scales[-1])}


def pyramid_of_token_flow(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    about = case.config
    inner = SharedIndexQuantizer(about["codebook_size"], (about["semantic_code_dim"], about["codebook_embed_dim"]))
    inner.tables[0].data = case.weights["quantize.embedding_vqkd.weight"]
    inner.tables[1].data = case.weights["quantize.embedding_vqgan.weight"]
    quantizer = MultiScaleQuantizer(inner, about["scales"])
    last = inner.index(tokens(recorded["feature"]))  # what is left at the last scale
    indices = torch.cat([recorded["indices"][:, : -last.shape[1]], last], dim=1)
    return {"indices": indices, "quantized": plane(quantizer.decode(recorded["indices"]), *quantizer.size)}


def product_of_uni_tok(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    parts = []
    for number in range(case.config["num_codebooks"]):
        rows = case.weights[f"quantizer.codebooks.{number}.codebook.weight"]
        parts.append(VectorQuantizer(*rows.shape, normalize=True))
        parts[-1].codebook.data = rows
    made = ProductQuantizer(parts)(recorded["projected"])
    return {"indices": made.indices.transpose(1, 2), "quantized": made.codes}


def soft_vq(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    about, made = case.config, {}
    for name, normalize in (("z_q", True), ("z_q_plain", False)):
        quantizer = SoftVectorQuantizer(
            about["codebook_size"],
            about["codebook_embed_dim"],
            num_codebooks=about["num_codebooks"],
            temperature=about["tau"],
            normalize=normalize,
        )
        quantizer.codebook.data = case.weights["quantize.embedding"]
        made[name] = quantizer(recorded["z"]).codes
        if normalize:
            made["indices"] = quantizer.nearest(recorded["z"]).unflatten(1, (2, 4))
    return made


def averages_of_ait(case: Case, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    rows = case.weights["_vq_vae._embedding"]
    quantizer = EmaVectorQuantizer(*rows.shape)
    quantizer.codebook.copy_(rows)
    return {"indices": quantizer.index(tokens(recorded["encoder_out"])).view(recorded["indices"].shape)}


RECORDED = {
    "ait_vqvae_tiny": averages_of_ait,
    "atoken_fsq_tiny": fsq_of_atoken,
    "bsqvit_tiny": bsq_of_bsq_vit,
    "cosmos_di_tiny": fsq_of_cosmos,
    "infinity_bsq_tiny": pyramid_of_infinity,
    "showo_magvitv2_tiny": lfq_of_show_o,
    "signvip_fsq_tiny": fsq_of_signvip,
    "softvq_tiny": soft_vq,
    "tokenflow_clipb_tiny": pyramid_of_token_flow,
    "unitok_tiny": product_of_uni_tok,
    "wetok_gandec_tiny": gfq_of_wetok,
}


@pytest.mark.parametrize("name", RECORDED)
@torch.no_grad()
def test_latents_become_the_recorded_codes(name: str) -> None:
    case = read_case(CASES / f"{name}.json")
    made = RECORDED[name](case, {key: torch.from_numpy(value) for key, value in case.recorded.items()})
    assert not [line for key, value in made.items() if (line := case.misfit(key, value))]
