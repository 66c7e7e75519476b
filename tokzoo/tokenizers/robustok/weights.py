"""Published weights of RobusTok, and how their keys are read."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tokzoo.registry import Architecture, Source, Weights
from tokzoo.tokenizers.robustok.config import ROBUSTOK, RobustokConfig
from tokzoo.tokenizers.xqgan import weights as xqgan
from tokzoo.tokenizers.xqgan.weights import LICENCE, scored

if TYPE_CHECKING:
    from torch import Tensor


def convert(state: Mapping[str, "Tensor"], config: RobustokConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    ours = xqgan.convert(state, config)
    ours["quantizer.inner.codebook"] = ours.pop("quantizer.codebook")
    return ours


def read_config(published: Mapping[str, Any]) -> RobustokConfig | None:
    """The sizes in the authors' own names (their yaml's), or None for another family's."""
    if not {"alpha", "beta", "delta"} <= set(published):
        return None
    network = xqgan.read_config({key: value for key, value in published.items() if key != "delta"})
    if network is None:
        return None
    return RobustokConfig(
        **asdict(network),
        perturbed_tokens=published["alpha"],
        perturbed_images=published["beta"],
        neighbours=published["delta"],
    )


NOTE = "The licence of the code is for non-commercial research; none is stated for the weights."
TRAINED = Weights(
    tag="in1k",
    sources=(Source(repo="qiuk6/RobustTok", files=("RobustTok-zero.pt", "main-train.pt")),),
    code_licence=LICENCE,
    licence=LICENCE,
    scores=(scored("rFID", 1.02), scored("pFID", 2.28)),
    checked="manifest",
    note=NOTE,
)
POST_TRAINED = Weights(
    tag="in1k_post",
    sources=(Source(repo="qiuk6/RobustTok", files=("post-train.pt",)),),
    code_licence=LICENCE,
    licence=LICENCE,
    checked="manifest",
    note=f"The decoder was trained on with tokens that a generator drew, arXiv:2509.12474. {NOTE}",
)

ARCHITECTURES = (
    Architecture(
        name="robustok",
        family="robustok",
        model="tokzoo.tokenizers.robustok.model:Robustok",
        config=ROBUSTOK,
        token_type="discrete",
        paper="2503.08354",
        convert="tokzoo.tokenizers.robustok.weights:convert",
        read_config="tokzoo.tokenizers.robustok.weights:read_config",
        golden="tokzoo.tokenizers.robustok.golden:run",
        weights=(TRAINED, POST_TRAINED),
    ),
)
