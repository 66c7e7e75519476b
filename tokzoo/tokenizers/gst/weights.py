"""GST's sizes by name. Its authors have published no weights."""

from typing import Any

from tokzoo.registry import Architecture
from tokzoo.tokenizers.gst import config as sizes


def _architecture(name: str, config: sizes.GstConfig) -> Architecture:
    shared: dict[str, Any] = dict(token_type="continuous", modality="3d", paper="2603.09079")
    return Architecture(name=name, family="gst", model="tokzoo.tokenizers.gst.model:Gst", config=config, **shared)


ARCHITECTURES = (
    _architecture("gst_128", sizes.GST_128),
    _architecture("gst_128_axis_aligned", sizes.GST_128_AXIS_ALIGNED),
    _architecture("gst_nano", sizes.GST_NANO),
)
