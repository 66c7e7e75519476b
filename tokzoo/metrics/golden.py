"""Golden cases of metrics: our numbers under the names that the case records, by its family."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tokzoo.losses.perceptual import LpipsLoss
from tokzoo.losses.reconstruction import psnr
from tokzoo.metrics import diversity, i3d, inception, kernel, neighbours, resize, ssim
from tokzoo.metrics.frechet import frechet_of_features

if TYPE_CHECKING:
    from tokzoo.golden import Case


def run_inception(case: "Case") -> dict[str, Tensor]:
    """All features of filled weights, read through the key rules."""
    network = inception.FidInception()
    network.load_state_dict(inception.convert(case.weights), strict=True)
    got = network(torch.from_numpy(case.inputs["image"]).float() / 255)
    return {
        "f64": got.stem1,
        "f192": got.stem2,
        "f768": got.middle,
        "f2048": got.pool,
        "flogits_unbiased": got.logits,
        "flogits": got.logits + network.fc.bias,
        "spatial2023": got.spatial,
    }


def run_dist_metrics(case: "Case") -> dict[str, Tensor]:
    """Distances between two sets of features, in each tool's setting."""
    config = case.config
    ours, theirs = (torch.from_numpy(case.inputs[name]) for name in ("generated", "real"))
    logits, splits, k = torch.from_numpy(case.inputs["isc_logits"]), config["isc_splits"], config["precision_recall_k"]
    frechet = frechet_of_features(ours, theirs)
    kid = kernel.kernel_distance(
        ours, theirs, subsets=config["kid_subsets"], subset_size=config["kid_subset_size"], seed=config["rng_seed"]
    )
    clean = [
        kernel.squared_mmd(ours[a], theirs[b])
        for a, b in zip(case.inputs["clean_kid_rows_generated"], case.inputs["clean_kid_rows_real"], strict=True)
    ]
    score = diversity.inception_score(logits, splits=splits, seed=config["rng_seed"])
    balls = neighbours.manifold_scores(ours, theirs, k=k)
    strict = neighbours.manifold_scores(ours, theirs, k=config["prdc_k"], strict=True)
    both = min(len(ours), len(theirs))
    tools = "torch_fidelity_fid clean_fid_frechet pytorch_fid_frechet dgm_eval_fd dgm_eval_fd_efficient"
    numbers = {
        **dict.fromkeys((*tools.split(), "stylegan_v_frechet", "videogpt_frechet"), frechet),
        "torch_fidelity_kid_mean": kid.mean,
        "torch_fidelity_kid_std": kid.std,
        "clean_fid_kid": float(torch.stack(clean).mean()),
        "dgm_eval_mmd_full": float(kernel.squared_mmd(ours[:both], theirs[:both])),
        "torch_fidelity_isc_mean": score.mean,
        "torch_fidelity_isc_std": score.std,
        "torch_fidelity_isc_mean_noshuffle": diversity.inception_score(logits, splits=splits, seed=None).mean,
        "torch_fidelity_precision": balls.precision,
        "torch_fidelity_recall": balls.recall,
        "torch_fidelity_fscore": 2 * balls.precision * balls.recall / max(1e-5, balls.precision + balls.recall),
        "dgm_eval_precision_k5": strict.precision,
        "dgm_eval_recall_k5": strict.recall,
        "dgm_eval_density_k5": strict.density,
        "dgm_eval_coverage_k5": strict.coverage,
        "adm_rule_precision": balls.precision,
        "adm_rule_recall": balls.recall,
        "dgm_eval_vendi": diversity.vendi_score(ours),
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}


def run_fid_resize(case: "Case") -> dict[str, Tensor]:
    """Resize rules, of an image in [0, 255]."""
    from PIL import Image

    image, size = torch.from_numpy(case.inputs["image"]), tuple(case.config["out_size_hw"])
    bilinear = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
    picture = Image.fromarray(case.inputs["image_hwc"]).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return {
        "tf1_bilinear": resize.tf1_bilinear(image, size),
        "torch_bilinear": resize.half_pixel_bilinear(image, size),
        "clean_pil_bicubic": resize.antialiased_bicubic(image / 255, size)[0].permute(1, 2, 0) * 255,
        "clean_pil_bilinear": bilinear[0].permute(1, 2, 0),
        "pil_bicubic_uint8": torch.from_numpy(np.array(picture)),
    }


def run_psnr_ssim(case: "Case") -> dict[str, Tensor]:
    """PSNR and SSIM in the conventions of torchmetrics, scikit-image and the video metrics' repositories."""
    reference, images = (torch.from_numpy(case.inputs[name]) for name in ("a", "b"))
    rounded = [(each * 255).round() / 255 for each in (images, reference)]
    uniform, padded = ssim.SSIM_UNIFORM, ssim.SSIM_TORCHMETRICS
    values = {
        "tm_psnr": psnr(images[None], reference[None]),
        "tm_psnr_per_image_mean": psnr(images, reference),
        "sk_psnr_mean": psnr(images, reference),
        "sk_psnr_uint8_mean": psnr(*rounded),
        "tm_ssim": ssim.ssim(images, reference, rule=padded),
        "tm_ssim_u8range": ssim.ssim(images, reference, rule=padded),
        "sk_ssim_uniform7": ssim.ssim(images, reference, rule=uniform),
        "sk_ssim_gauss": ssim.ssim(images, reference),
        "sk_ssim_gray_uniform7": ssim.ssim(images, reference, rule=uniform, grey=True),
        "sk_ssim_uint8_uniform7": ssim.ssim(*rounded, rule=uniform),
        "cv_ssim_valid": ssim.ssim(images, reference),
    }
    return {name: value.double().mean() for name, value in values.items()}


def run_lpips(case: "Case") -> dict[str, Tensor]:
    """LPIPS with filled backbone weights and the package's own heads."""
    backbone = {key.removeprefix("net."): value for key, value in case.weights.items() if key.startswith("net.")}
    lpips = LpipsLoss(case.config["net"], backbone=backbone)
    signed = [torch.from_numpy(case.inputs[name]) for name in ("a", "b")]
    unit = [torch.from_numpy(case.inputs[name]) for name in ("a_unit", "b_unit")]
    heads = [head.model[-1].weight.flatten() for head in lpips.network.lins]
    _, layers = lpips.network(*signed, retPerLayer=True)
    return {
        "lpips": lpips.distances(*((each + 1) / 2 for each in signed)),
        "lpips_normalize": lpips.distances(*unit),
        "per_layer": torch.stack([layer.flatten() for layer in layers], dim=1),
        **{f"head{number}": head for number, head in enumerate(heads)},
    }


def run_fvd(case: "Case") -> dict[str, Tensor]:
    """I3D logits of filled weights, read through the key rules, and what comes before the network."""
    network = i3d.FvdI3d()
    network.load_state_dict(i3d.convert(case.weights), strict=True)
    videos = torch.from_numpy(case.inputs["video"])
    clips = i3d.prepare_clips(videos)
    return {
        "logits": network.extract(clips),
        "pre_slice": clips[0, :, 0, ::16, ::16],
        "pre_mean": clips.mean((2, 3, 4)),
    }
