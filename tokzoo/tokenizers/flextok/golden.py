"""FlexTok's numbers under the names of its golden cases."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.decoders.flow import Plan
from tokzoo.diffusion.time import TimeEmbedding
from tokzoo.encoders.register import causal_last_mask
from tokzoo.golden import Case, build
from tokzoo.layers.normed_transformer import plain_norm
from tokzoo.layers.patches import to_map
from tokzoo.layers.wave_positions import wave_positions
from tokzoo.tokenizers.flextok.config import FlextokConfig, TransformerSize
from tokzoo.tokenizers.flextok.model import Flextok, keep
from tokzoo.tokens import Sequence, Tokens


def run(case: Case) -> dict[str, Tensor]:
    model: Flextok = build(case, read_case_config(case))  # type: ignore[assignment]
    return {**_encoded(case, model), **_velocities(case, model), **_samples(case, model), **_parts(case)}


def read_case_config(case: Case) -> FlextokConfig:
    about = case.config
    widths, head_dim = about["vae"]["block_out_channels"], about["head_dim"]
    grid_size, patch_size = about["posemb_grid"][0], about["patch_sizes"][0]
    vae = dict(
        width=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        num_blocks=about["vae"]["layers_per_block"],
        code_dim=about["latent_channels"],
        groups=about["vae"]["norm_num_groups"],
    )
    encoder, decoder = (
        TransformerSize(width=width, depth=about[f"{half}_depth"], num_heads=width // head_dim)
        for half in ("enc", "dec")
        for width in (about[f"{half}_dim"],)
    )
    return FlextokConfig(
        image_size=grid_size * patch_size * 2 ** (len(widths) - 1),
        vae_config=vae,
        scale=(about["scaling_factor"],),
        patch_size=patch_size,
        num_registers=about["n_registers"],
        encoder=encoder,
        decoder=decoder,
        levels=tuple(about["levels"]),
        max_time=about["max_timestep"],
    )


def _encoded(case: Case, model: Flextok) -> dict[str, Any]:
    images = (case.image() + 1) / 2  # recorded in [-1, 1)
    encoder, latents = model.encoder, case.image("latents")
    patches, registers = encoder.read(latents)
    values = encoder.to_code(plain_norm(registers))
    made = model.quantizer(values)
    rows, columns = (side // encoder.patch_size for side in latents.shape[2:])
    return {
        "vae_latents": encoder.latent_map(images),
        "enc_registers": values,
        "enc_patches_out": to_map(patches, rows, columns).permute(0, 2, 3, 1),
        "tokens": made.indices,
        "quant": made.codes,
        "tokens_from_image": model.encode(images).indices,
        "ids_embedding": model.codes(_given(case, model)),
    }


def _given(case: Case, model: Flextok, lengths: list[int] | None = None) -> Tokens:
    ids = case.image("ids")
    size = tuple(model.decoder.downsample * side for side in case.inputs["init_noise"].shape[2:])
    tokens = Tokens(layout=Sequence(ids.shape[1]), indices=ids, levels=model.quantizer.levels, extent=size)
    return tokens if lengths is None else keep(tokens, torch.tensor(lengths, device=ids.device))


def _velocities(case: Case, model: Flextok) -> dict[str, Tensor]:
    velocity, place = model.decoder.velocity, case.image("noisy_latents")
    times = case.image("t")
    moment = velocity.moment(times)
    ours = {"temb": velocity.time(times)}
    for name, how in case.settings["velocity"].items():
        condition = velocity.condition(model._placed(_given(case, model, how.get("eval_keep_k"))))
        if any(how.get("eval_dropout_mask", ())):
            condition = velocity.null(condition)
        ours[name] = velocity(place, moment, condition)
    condition = velocity.condition(model._placed(_given(case, model)))
    seen = velocity.look(place, moment, condition, tap=case.settings["repa_layer"]).tapped
    rows, columns = (side // velocity.patch_size for side in place.shape[2:])
    return {**ours, "repa_features": to_map(seen, rows, columns).permute(0, 2, 3, 1)}


def _samples(case: Case, model: Flextok) -> dict[str, Tensor]:
    noise, ours = case.image("init_noise"), {}
    for name, how in case.settings["sample"].items():
        method = "apg" if how.get("perform_norm_guidance") else "cfg"
        plan = Plan(steps=how["timesteps"], guidance=how["guidance_scale"], method=method)
        tokens = _given(case, model, how["lengths"])
        ours[name] = model.decoder.sample(model._placed(tokens), noise=noise, plan=plan)
        if method == "apg":
            images = model.decode(
                tokens, steps=plan.steps, guidance=plan.guidance, method=method, noise=noise, clamp=False
            )
            ours[f"{name}_image"] = images * 2 - 1
    return ours


def _parts(case: Case) -> dict[str, Tensor]:
    settings, times = case.settings, case.image("freq_t")
    waves = settings["sincos_posemb"]
    ours = {"sincos_posemb": wave_positions(waves["embed_dim"], *waves["grid"]).unsqueeze(0)}
    for name, longest in settings["tfreq"].items():
        ours[name] = TimeEmbedding(1, period=256.0, scale=1000.0 / longest).waves(times)
    about = settings["packed_mask"]  # ours is per image, theirs of images in one row
    mask, start = torch.zeros(about["rows"], about["rows"], dtype=torch.uint8), 0
    for (height, width), registers in zip(about["patch_grids"], about["registers"], strict=True):
        patches = height * width
        end = start + patches + registers
        mask[start : start + patches, start : start + patches] = 1
        mask[start + patches : end, start:end] = causal_last_mask(patches, registers)
        start = end
    return {**ours, "packed_mask": mask}
