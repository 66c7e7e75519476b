"""Published weights of GPSToken's generator, and how their keys and config are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tokzoo.conversion import Rules, rename_keys
from tokzoo.generators.gpstoken import config as sizes
from tokzoo.generators.gpstoken.config import GpsSitConfig
from tokzoo.registry import Architecture, Score, Source, Weights

if TYPE_CHECKING:
    from torch import Tensor

AVERAGED = "ema_model."
RULES: Rules = (
    (r"pos_embed", None),  # of tokens without a layout
    (r"x_embedder\.proj\.(.+)", r"velocity.embed.\1"),
    (r"cond_embedder\.(.+)", r"velocity.layout.\1"),
    (r"t_embedder\.mlp\.0\.(.+)", r"velocity.time.fc1.\1"),
    (r"t_embedder\.mlp\.2\.(.+)", r"velocity.time.fc2.\1"),
    (r"y_embedder\.embedding_table\.weight", r"velocity.classes.weight"),
    (r"blocks\.(\d+)\.attn\.(.+)", r"velocity.blocks.\1.attn.\2"),
    (r"blocks\.(\d+)\.mlp\.(.+)", r"velocity.blocks.\1.\2"),
    (r"blocks\.(\d+)\.adaLN_modulation\.1\.(.+)", r"velocity.blocks.\1.modulation.\2"),
    (r"final_layer\.adaLN_modulation\.1\.(.+)", r"velocity.modulation.\1"),
    (r"final_layer\.linear\.(.+)", r"velocity.out.\1"),
)


def convert(state: Mapping[str, "Tensor"], config: GpsSitConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours; of a training file the averaged weights."""
    averaged = {key.removeprefix(AVERAGED): value for key, value in state.items() if key.startswith(AVERAGED)}
    ours = rename_keys(averaged or state, RULES)
    ours["velocity.embed.weight"] = ours["velocity.embed.weight"].flatten(1)  # a 1x1 conv there
    return ours


NOTE = (
    "It needs layouts, initial Gaussians: `tokzoo layouts PHOTOS` makes a bank of them. The authors keep theirs in a "
    "pickle, initg.pickle, which tokzoo does not open; LayoutBank says how to convert it. Their README speaks of "
    "Apache-2.0, the hub's card says MIT."
)
PROTOCOL = "ImageNet 256x256, 128 tokens; abstract of arXiv:2509.01109"


ARCHITECTURES = (
    Architecture(
        name="gpstoken_sit_xl",
        family="gpstoken_sit",
        kind="generator",
        model="tokzoo.generators.gpstoken.model:GpsSit",
        config=sizes.GPSTOKEN_SIT_XL,
        token_type="continuous",
        paper="2509.01109",
        convert="tokzoo.generators.gpstoken.weights:convert",
        weights=(
            Weights(
                tag="in1k",
                sources=(Source(repo="xtudbxk/GPSToken", files=("generator.safetensors",)),),
                tokenizer="gpstoken_m128.in1k",
                sampling=dict(num_steps=250, method="stochastic", guidance=1.5, guided_from=0.2),
                code_licence="Apache-2.0",
                licence="MIT",
                scores=(Score(metric="gFID", value=1.50, protocol=PROTOCOL),),
                checked="manifest",
                note=NOTE,
            ),
        ),
    ),
    Architecture(
        name="gpstoken_sit_nano",
        family="gpstoken_sit",
        kind="generator",
        model="tokzoo.generators.gpstoken.model:GpsSit",
        config=sizes.GPSTOKEN_SIT_NANO,
        token_type="continuous",
        paper="2509.01109",
    ),
)
