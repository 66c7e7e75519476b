"""KARL's numbers under the names of its golden cases."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.patches import to_map, to_tokens
from tokzoo.quantizers.nearest import nearest_rows
from tokzoo.tokenizers.karl.config import BaseConfig
from tokzoo.tokenizers.karl.weights import read_config
from tokzoo.tokenizers.kl16_vae.config import Kl16VaeConfig
from tokzoo.tokenizers.kl16_vae.weights import attention_levels
from tokzoo.tokenizers.maskgit_vqgan.config import MaskgitVqganConfig
from tokzoo.tokens import Features


def run(case: Case) -> dict[str, Tensor]:
    base = read_base(case)
    image_size = (base.vqgan if base.kind == "vqgan" else base.vae).image_size
    read = read_config(case.config, base=base)
    assert read is not None
    config = replace(read, image_size=image_size)
    model = build(case, config)
    images = case.image()
    encoder: Any = model.encoder
    decoder: Any = model.decoder
    features = encoder.base(images).latents
    if base.kind == "vqgan":
        patches = to_tokens(encoder.patch_embed(images))
        ours = {
            "image_tokens": torch.cat([patches, features], dim=-1)[:, :8],
            "base_indices": nearest_rows(features.flatten(0, 1), decoder.head.codebook.weight).unsqueeze(0),
        }
    else:
        side = config.grid_size
        ours = {"base_latents": to_map(features, side, side)}
    for request in case.settings["requests"]:
        (budget,) = request["input_token_budget"]
        asked = dict(num_tokens=budget, max_error=request["desired_reconstruction_quality"])
        tokens = model.encode(images, **asked)
        seen = encoder(images, **asked)
        codes = model.codes(tokens).to(model.dtype)
        predicted = to_tokens(decoder.head.predict(decoder.fill(Features(codes, tokens.layout, valid=tokens.valid))))
        named: dict[str, Any] = {
            "halt_logits": seen.aux["halt_logits"].unsqueeze(-1),
            "kept": tokens.valid,
            "z": seen.latents,
            "z_q": codes,
            "indices": tokens.indices,
            "logits": predicted[:, ::8],
            "code": predicted[:, ::4],
            "reconstruction": model.decode(tokens, clamp=False),
        }
        ours |= {f"{request['prefix']}_{name}": value for name, value in named.items()}
    return ours


def read_base(case: Case) -> BaseConfig:
    """The base tokenizer that a case describes."""
    return read_vqgan(case.config) if "base_ddconfig" in case.config else read_vae(case.config["base_ae"])


def read_vqgan(published: dict[str, Any]) -> BaseConfig:
    sizes = published["base_ddconfig"]
    return BaseConfig(
        kind="vqgan",
        vqgan=MaskgitVqganConfig(
            image_size=sizes["resolution"],
            width=sizes["ch"],
            multipliers=tuple(sizes["ch_mult"]),
            num_blocks=sizes["num_res_blocks"],
            num_middle_blocks=2,
            codebook_size=published["base_n_embed"],
            code_dim=published["base_embed_dim"],
        ),
    )


def read_vae(sizes: dict[str, Any]) -> BaseConfig:
    return BaseConfig(
        kind="vae",
        vae=Kl16VaeConfig(
            image_size=sizes["resolution"],
            width=sizes["ch"],
            multipliers=tuple(sizes["ch_mult"]),
            num_blocks=sizes["num_res_blocks"],
            code_dim=sizes["z_channels"],
            attention_levels=attention_levels(sizes, sizes["attn_resolutions"]),
            decoder_attention_levels=attention_levels(sizes, sizes["attn_resolutions_decoder"]),
        ),
    )
