"""How an evaluation is run, beside what its protocol fixes."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tokzoo.evaluation.scoring import Share

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may change the speed of an evaluation, and its files' places, but no number.

    Args:
        work: folder of the run's batches, kept until the result is there.
        batch_size: images at once; only what is drawn at random, by generators and some decoders, is drawn by batches.
        device: of the metrics' networks.
        weights: file of the extractor's weights; None: where it finds them.
        reference: file of reference statistics, where the protocol asks for one.
        extrapolate: also the Frechet distance at infinity.
        cache: folder that keeps the features of reference sets for other evaluations; None: they are taken anew.
        share: which part of the batches is this process's.
    """

    work: Path
    batch_size: int = 32
    device: str = "cpu"
    weights: Path | None = None
    reference: Path | None = None
    extrapolate: bool = False
    cache: Path | None = None
    share: Share = field(default_factory=Share)

    def remove_work(self) -> None:
        """Removes the batches, once their result is written."""
        shutil.rmtree(self.work)
