"""GST's sizes by name. Its authors have published code and no weights."""

from typing import Any

from tokzoo.conversion import Rules
from tokzoo.registry import Architecture
from tokzoo.tokenizers.gst import config as sizes

RULES: Rules = (  # of the encoder of the released code
    (r"pos_enc_3d\.freqs", None),  # powers of two
    (r"gaussian_head\.mlp\.(0|2)\.(.+)", r"head.hidden.\1.\2"),
    (r"gaussian_head\.head_mu\.(.+)", r"head.offset.\1"),
    (r"gaussian_head\.head_scale\.(.+)", r"head.log_scale.\1"),
    (r"gaussian_head\.head_alpha\.(.+)", r"head.opacity.\1"),
    (r"attn_pool\.cluster_queries", r"queries"),
    (r"attn_pool\.cross_attn\.(.+)", r"attention.\1"),
    (r"attn_pool\.norm1\.(.+)", r"norm_queries.\1"),
    (r"attn_pool\.norm2\.(.+)", r"norm_read.\1"),
    (r"attn_pool\.norm3\.(.+)", r"norm_out.\1"),
    (r"attn_pool\.ffn\.(0|2)\.(.+)", r"mlp.\1.\2"),
    (r"(depth_scale|depth_offset)", r"\1"),
)


def _architecture(name: str, config: sizes.GstConfig) -> Architecture:
    shared: dict[str, Any] = dict(token_type="continuous", modality="3d", paper="2603.09079")
    shared["golden"] = "tokzoo.tokenizers.gst.golden:run"
    return Architecture(name=name, family="gst", model="tokzoo.tokenizers.gst.model:Gst", config=config, **shared)


ARCHITECTURES = (
    _architecture("gst_128", sizes.GST_128),
    _architecture("gst_128_axis_aligned", sizes.GST_128_AXIS_ALIGNED),
    _architecture("gst_128_released", sizes.GST_128_RELEASED),
    _architecture("gst_nano", sizes.GST_NANO),
    _architecture("gst_nano_16", sizes.GST_NANO_16),
)
