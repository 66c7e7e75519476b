"""RobusTok, arXiv:2503.08354: trained to paint well from tokens that are a little wrong, as a generator's are."""

from tokzoo.quantizers.perturbation import PerturbedQuantizer
from tokzoo.tokenizers.robustok.config import RobustokConfig
from tokzoo.tokenizers.xqgan.model import Xqgan


class Robustok(Xqgan):
    """A grid of tokens. In training some become neighbours; set `quantizer.strength` by the epoch to anneal that.

    The published schedule is `tokzoo.quantizers.perturbation.annealed_strength`.

    Raises:
        ValueError: several branches or scales: the perturbation is of one index a token.
    """

    quantizer: PerturbedQuantizer

    def __init__(self, config: RobustokConfig):
        if config.num_branches != 1 or len(config.scales) != 1:
            raise ValueError(f"RobusTok has one branch and one scale; got {config.num_branches}, {config.scales}")
        super().__init__(config)
        self.quantizer = PerturbedQuantizer(
            self.quantizer,
            tokens=config.perturbed_tokens,
            images=config.perturbed_images,
            neighbours=config.neighbours,
        )
