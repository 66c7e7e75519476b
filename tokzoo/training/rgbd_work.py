"""Tokenizers learn from pictures with depth. B batch, H W pixels."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from tokzoo.data.rgbd import RgbdFolder
from tokzoo.data.scenes import Rgbd
from tokzoo.losses.reconstruction import psnr
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.training.config import TrainConfig
from tokzoo.training.objectives import Losses
from tokzoo.training.work import Work


class RgbdData(NamedTuple):
    """The pictures, and the numbers of those to learn from and to score on, of `held_out`."""

    pictures: RgbdFolder
    learned: list[int]
    held_out: Rgbd


class RgbdWork(Work):
    """A tokenizer that learns depth and colours of an RGB-D folder, and is scored on held-out pictures."""

    data: RgbdData

    @classmethod
    def read(cls, config: TrainConfig, model: VisualTokenizer) -> RgbdData:
        pictures = RgbdFolder(config.data, model.image_size)
        if config.val_data is not None:
            others = RgbdFolder(config.val_data, model.image_size)
            count = min(config.eval_images, len(others))
            return RgbdData(pictures, list(range(len(pictures))), others.chosen(range(count)))
        if len(pictures) < 2:
            raise ValueError(f"{config.data} holds one picture: training needs another to hold out; or give val_data=")
        order = np.random.default_rng(0).permutation(len(pictures)).tolist()
        count = min(config.eval_images, max(1, len(pictures) // 20))
        return RgbdData(pictures, order[count:], pictures.chosen(order[:count]))

    def batch(self, number: int) -> Rgbd:
        config = self.config
        return self.data.pictures.batch(number, seed=config.seed, batch_size=config.batch_size, rows=self.data.learned)

    def losses(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> Losses:
        images, depth, intrinsics = (part.to(self.accelerator.device, non_blocking=True) for part in batch)
        with self.accelerator.autocast():
            losses: Losses = self.objective(model, images, step, generator, depth=depth, intrinsics=intrinsics)
        return losses

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The mean error of depth as a share of it, and PSNR."""
        errors, scores = [], []
        size, device = self.config.batch_size, self.accelerator.device
        for parts in zip(*(part.to(device).split(size) for part in self.data.held_out), strict=True):
            images, depth, intrinsics = parts
            output = self.model(images, depth=depth, intrinsics=intrinsics)
            valid = depth.isfinite() & (depth > 0)
            errors.append(((output.aux["depth"] - depth).abs() / depth)[valid])
            scores.append(psnr(output.reconstruction.float().clamp(0, 1), images))
        return {"val_depth_error": float(torch.cat(errors).mean()), "val_psnr": float(torch.cat(scores).mean())}
