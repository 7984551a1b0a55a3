"""The feature maps that a layer makes of one picture."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convolens.errors import ConfigError, ShapeError
from convolens.visual.figure import Figure
from convolens.visual.panels import Panel, draw_panels, heat
from convolens.visual.tiles import square_columns

MOST_MAPS = 64
_WIDTH_PX = 1100
_LARGEST_PX, _LEAST_PX = 160, 84


def feature_maps(
    maps: NDArray[np.floating],
    layer: str,
    *,
    scale: Literal["common", "own"] = "common",
) -> Figure:
    """Draws feature maps with their channels' numbers; blue is negative, vermillion positive.

    At most 64 are shown, the first. A value that is NaN or infinite is purple.

    Args:
        maps: of one picture; a vector (C,) is drawn as C single cells.
        layer: their name.
        scale: "common" has one greatest value for all, so that weak channels look weak; "own"
            shows the pattern of each.
    Shape: maps (C, H, W) -> pixels (h, w, 3)
    Raises:
        ShapeError: when they are no (C, H, W).
        ConfigError: when the scale is neither.
    Example:
        >>> feature_maps(np.ones((6, 8, 8)), "conv1").caption[:36]
        'The 6 maps of conv1, on one scale of'
    """
    if scale not in ("common", "own"):
        raise ConfigError(f"scale must be common or own, received {scale!r}")
    volume = maps[:, None, None] if maps.ndim == 1 else maps
    if volume.ndim != 3 or volume.size == 0:
        raise ShapeError(
            f"feature maps must have shape (C, H, W), none of them 0, received {maps.shape}"
        )
    count = len(volume)
    part = volume[:MOST_MAPS]
    columns = min(square_columns(len(part)), 8)
    target = min(_LARGEST_PX, max(_LEAST_PX, _WIDTH_PX // columns - 28))
    greatest = _greatest(volume)
    panels = []
    for channel, one in enumerate(part):
        own = _greatest(one)
        note = f"max {own:.2g}" if own else "all 0"
        limit = (own if scale == "own" else greatest) or 1.0
        panels.append(Panel(title=str(channel), pixels=heat(one, limit, target), note=note))
    dead = int((np.abs(np.nan_to_num(volume)).reshape(count, -1).max(1) == 0).sum())
    some = f"The first {len(part)} of {count}" if count > len(part) else f"The {count}"
    each = f"on one scale of ±{greatest:.3g}" if scale == "common" else "each on a scale of its own"
    caption = (
        f"{some} maps of {layer}, {each}: vermillion is positive, blue negative, white 0. Look for "
        f"maps that follow edges or parts of the picture; {dead} of them are 0 everywhere."
    )
    heading = f"{layer}: {'×'.join(map(str, maps.shape))}"
    return Figure(
        name="feature-maps", caption=caption, pixels=draw_panels(panels, columns, heading)
    )


def _greatest(values: NDArray[np.floating]) -> float:
    """The greatest finite |v|; 0 where there is none."""
    return float(np.abs(values[np.isfinite(values)], dtype=np.float64).max(initial=0.0))
