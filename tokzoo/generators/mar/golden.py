"""MAR's numbers under the names of its golden cases."""

from typing import Any

import torch
from torch import Tensor

from tokzoo.conversion import rename_keys
from tokzoo.diffusion.ddpm import cosine_chain
from tokzoo.generators.mar.head import DiffusionHead
from tokzoo.generators.mar.model import Mar
from tokzoo.generators.mar.weights import HEAD_RULES, read_config
from tokzoo.generators.masked_backbone import masked_counts
from tokzoo.generators.sampling import guidance_at
from tokzoo.golden import Case, build


def run(case: Case) -> dict[str, Tensor]:
    return run_model(case) if "latent" in case.inputs else run_head(case)


def as_tokens(maps: Tensor, patch_size: int) -> Tensor:
    """(B, c, h, w) -> (B, L, C): channels first inside a patch."""
    return torch.nn.functional.unfold(maps, patch_size, stride=patch_size).transpose(1, 2)


def as_maps(tokens: Tensor, patch_size: int) -> Tensor:
    """The way back."""
    side = round(tokens.shape[1] ** 0.5) * patch_size
    return torch.nn.functional.fold(tokens.transpose(1, 2), (side, side), patch_size, stride=patch_size)


def known_places(mask: Tensor) -> Tensor:
    """Where a mask (B, L) is 0, ascending (B, K)."""
    return (1 - mask).nonzero()[:, 1].view(len(mask), -1)


def run_model(case: Case) -> dict[str, Tensor]:
    model: Any = build(case, read_config(case.config))
    assert isinstance(model, Mar)
    patch = case.config["patch_size"]
    tokens, order, mask = as_tokens(case.image("latent"), patch), case.image("order"), case.image("mask")
    labels, known = case.image("labels"), known_places(mask)
    none = model.null(labels)
    assert isinstance(none, Tensor)
    ours = {
        "patchified": tokens,
        "order": order,
        "mask": mask,
        "encoder_out": model.backbone.encode(tokens, known, labels),
        "z": model.backbone(tokens, known, labels),
        "encoder_out_uncond": model.backbone.encode(tokens, known, none),
        "z_uncond": model.backbone(tokens, known, none),
        "z_all_masked": model.backbone(torch.zeros_like(tokens), known[:, :0], labels),
    }
    for name in ("sampled_cfg", "sampled_nocfg"):
        about = case.settings[name]
        if not about["noise"] or about["noise"][0] not in case.inputs:
            continue
        given = [case.image(key) for key in about["noise"]]
        made = model.sample(
            labels,
            num_steps=about["num_iter"],
            diffusion_steps=int(case.config["num_sampling_steps"]),
            guidance=about["cfg"],
            temperature=about["temperature"],
            orders=order.flip(1),  # theirs is made from its end
            noise=by_place(given, order, about["num_iter"], tokens),
        )
        assert made.latents is not None
        ours[name] = as_maps(made.latents * model.config.scale, patch)
    return ours


def by_place(given: list[Tensor], order: Tensor, num_steps: int, like: Tensor) -> Tensor:
    """Each step's noise, recorded in the order of samples and places, as (B, L, C)."""
    length = order.shape[1]
    after = [*masked_counts(length, num_steps)[:-1], 0]
    noise, before = torch.zeros_like(like), length
    for left, part in zip(after, given, strict=True):
        places = order[:, left:before].sort(dim=1).values
        rows = part[: places.numel()].view(*places.shape, -1)
        noise = noise.scatter(1, places.unsqueeze(-1).expand_as(rows), rows.to(noise.dtype))
        before = left
    return noise


def run_head(case: Case) -> dict[str, Tensor]:
    config = read_config(case.config)
    assert config is not None
    head = DiffusionHead(config.channels, config.decoder_width, width=config.head_width, depth=config.head_depth)
    head.load_state_dict(
        {key.removeprefix("head."): value for key, value in rename_keys(case.weights, HEAD_RULES).items()}
    )
    head = head.to(case.device, case.dtype).eval()
    noisy, features, moments, steps = (case.image(name) for name in ("x", "c", "t", "ti"))
    about = case.settings
    chain = head.chain.shortened(int(case.config["num_sampling_steps"]))
    long = head.chain.shortened(int(about["timestep_map_100"]["timestep_respacing"]))
    told, half = head.tell(features), noisy[: len(noisy) // 2]
    guided = head.guided(half, moments, told, about["cfg_scale"])
    spreads = head(half.repeat(2, 1), moments, told).spread  # of both halves; ours keeps the conditional one's
    said = head(noisy, chain.moments.to(steps.device)[steps], told)
    predicted = chain.predicted(said, noisy, steps)
    losses = head.losses(noisy, features, case.image("train_noise"), moments)
    counts, cfg = about["mask_len"], about["cfg_iter_256"]
    length = counts["seq_len"]
    return {
        "time_embed": head.time(moments),
        "raw": torch.cat(head(noisy, moments, told), dim=1),
        "raw_cfg": torch.cat([guided.epsilon.repeat(2, 1), spreads], dim=1),
        "p_mean": predicted.mean,
        "p_log_variance": predicted.logvar,
        "pred_xstart": chain.clean_of(noisy, said.epsilon, steps),
        "p_sample_temp0": predicted.mean,
        "p_loop_temp0": head.sample(noisy, features, chain=chain, temperature=0.0),
        "timestep_map": chain.moments,
        "betas_respaced": chain.betas,
        "alphas_cumprod_train": cosine_chain().kept[::37],
        "loss_mse": losses.simple,
        "loss_vb": losses.bound,
        "timestep_map_100": long.moments,
        "betas_100": long.betas,
        "mask_len_64": torch.tensor(masked_counts(length, 64)),
        "mask_len_256": torch.tensor(masked_counts(length, 256)),
        "cfg_iter_256": torch.tensor(
            [guidance_at(1 - left / length, cfg["cfg"], cfg["cfg_schedule"]) for left in masked_counts(length, 256)],
            dtype=torch.float64,
        ),
    }
