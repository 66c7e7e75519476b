"""GPSToken's numbers under the names of its golden cases."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tokzoo.golden import Case, build
from tokzoo.layers.gaussians import region_gaussians, to_picture
from tokzoo.layers.partition import complexity, partition
from tokzoo.layers.splatting import splat
from tokzoo.tokenizers.gpstoken.weights import read_config
from tokzoo.tokens import Features, Gaussians


def run(case: Case) -> dict[str, Tensor]:
    read = read_config(case.config)
    assert read is not None
    return {**_regions(case), **_model(case, build(case, replace(read, seams=False))), **_renderer(case)}


def _regions(case: Case) -> dict[str, Tensor]:
    about, grey = case.settings["partition"], (case.image("grey").float() + 1) / 2  # recorded in [-1, 1]
    options = dict(least_side=about["minhw"], power=about["weight"])
    regions = partition(grey, about["gps_num"], **options)
    size = (grey.shape[1], grey.shape[2])
    first = torch.zeros(regions.shape[1], dtype=torch.int64, device=grey.device)
    whole = regions.new_tensor([[0, 0, size[1] - 1, size[0] - 1]])
    return {
        "image": case.image().permute(0, 2, 3, 1),
        "region_pixels": regions,
        "regions": 2 * (regions / regions.new_tensor([size[1] - 1, size[0] - 1] * 2) - 0.5),
        "init_gps": region_gaussians(regions, size),
        "complexity_full": complexity(grey, first[:1], whole, power=about["weight"])[0],
        "complexity_leaves": complexity(grey, first, regions[0], power=about["weight"]),
    }


def _model(case: Case, model: Any) -> dict[str, Tensor]:
    tiles, boxes = (case.image() + 1) / 2, case.image("regions").float()
    regions = ((boxes + 1) / 2 * (tiles.shape[2] - 1)).round().long()
    geometry, latents = model.encoder.read(tiles, regions)
    side, decoder = model.config.map_size, model.decoder
    given = case.image("tiles")  # (T, N, 5 + C)
    rows = case.settings["tiles_np"]
    merged = to_picture(given[None, ..., :5].float(), rows, rows)
    features = given[..., 5:].reshape(1, -1, given.shape[-1] - 5)
    extent = (rows * decoder.tile_size, rows * decoder.tile_size)
    picture = decoder(Features(features, Gaussians(features.shape[1]), geometry=merged, extent=extent))
    return {
        "roi_cond": model.encoder.look(tiles[:1], regions[:1, :3]).transpose(2, 3),
        "tokens": torch.cat([geometry.to(latents.dtype), latents], dim=-1),
        "rendered": splat(geometry, latents, (side, side), cutoff=model.config.cutoff),
        "decoded": decoder(Features(latents, Gaussians(latents.shape[1]), geometry=geometry)) * 2 - 1,
        "tiled_tokens": torch.cat([merged.to(features.dtype), features], dim=-1),
        "tiled_decoded_sub": (picture * 2 - 1)[:, :, ::2, ::2],
    }


def _renderer(case: Case) -> dict[str, Tensor]:
    about, given = case.settings["render"], case.image("render_params").unsqueeze(0)
    size = tuple(about["size"])
    ours: dict[str, Tensor] = {"render_only_params": given[0]}
    for cutoff in about["dmax"]:
        painted = splat(given[..., :5], given[..., 5:], size, cutoff=cutoff)
        ours[f"render_only_dmax{cutoff}"] = painted[0].permute(1, 2, 0)
    with torch.enable_grad():
        geometry, features = (part.clone().requires_grad_() for part in given.split((5, given.shape[-1] - 5), dim=-1))
        painted = splat(geometry, features, size, cutoff=about["grad_dmax"])
        wanted = case.image("render_grad_output").permute(2, 0, 1).unsqueeze(0)
        to_geometry, to_features = torch.autograd.grad(painted, (geometry, features), wanted)
    scales, centres = to_geometry[0].split((3, 2), dim=-1)
    return {
        **ours,
        "render_only_grad_sigmas": scales,
        "render_only_grad_coords": centres,
        "render_only_grad_feats": to_features[0],
    }
