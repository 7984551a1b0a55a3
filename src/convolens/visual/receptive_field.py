"""What one unit can see of a picture, and how much of it counts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.cells import draw_border
from convolens.visual.figure import Figure, Pixels
from convolens.visual.panels import Panel, draw_panels, heat, high, shown, whole_factor
from convolens.visual.style import BLUE


def receptive_field(
    picture: Pixels,
    rows: tuple[int, int],
    cols: tuple[int, int],
    effective: NDArray[np.floating],
    layer: str,
    unit: Sequence[int],
) -> Figure:
    """Draws the pixels that a unit can see as a frame, and how strongly each changes it.

    Args:
        picture: uint8, grey or RGB.
        rows, cols: first and last that the unit sees, both included.
        effective: E|∂u/∂x| of each pixel, as `effective_field` gives it.
        layer, unit: the unit's layer, and its (channel, y, x).
    Shape: picture (1 or 3, H, W), effective (H, W) -> pixels (h, w, 3)
    Raises:
        ShapeError: when the rectangle or the map does not fit the picture.
    Example:
        >>> grey, even = np.zeros((1, 8, 8), np.uint8), np.ones((8, 8))
        >>> receptive_field(grey, (0, 3), (4, 7), even, "conv1", (0, 1, 2)).name
        'receptive-field'
    """
    height, width = picture.shape[1:]
    inside = 0 <= rows[0] <= rows[1] < height and 0 <= cols[0] <= cols[1] < width
    if not inside or effective.shape != (height, width):
        raise ShapeError(
            f"rows {rows}, columns {cols} and a map of {effective.shape} do not fit a picture of "
            f"{height}×{width} px"
        )
    size = (rows[1] - rows[0] + 1, cols[1] - cols[0] + 1)
    field = np.asarray(effective, np.float64)
    panels = [
        Panel(
            title="can see",
            pixels=_framed(shown(picture), rows, cols, (height, width)),
            note=f"{size[0]}×{size[1]} px",
        ),
        Panel(
            title="what counts",
            pixels=_framed(heat(field, high(field, 1.0)), rows, cols, (height, width)),
            note=f"half of it in {_half(field)} px",
        ),
    ]
    place = ", ".join(map(str, unit))
    caption = (
        f"Unit ({place}) of {layer} can see rows {rows[0]} to {rows[1]} and columns {cols[0]} to "
        f"{cols[1]} of the picture; no pixel outside of the frame changes it. Inside, strong "
        "colour marks the pixels that do change it: mostly far fewer, and in the middle."
    )
    pixels = draw_panels(panels, 2, f"{layer}, unit ({place})")
    return Figure(name="receptive-field", caption=caption, pixels=pixels)


def _framed(
    pixels: Pixels, rows: tuple[int, int], cols: tuple[int, int], size: tuple[int, int]
) -> Pixels:
    factor = whole_factor(size)
    image = Image.fromarray(pixels)
    corner = (cols[0] * factor, rows[0] * factor)
    extent = ((cols[1] - cols[0] + 1) * factor, (rows[1] - rows[0] + 1) * factor)
    draw_border(image, corner, extent, BLUE)
    return np.asarray(image)


def _half(field: NDArray[np.float64]) -> int:
    """The fewest pixels that hold half of the whole."""
    ordered = np.sort(field, axis=None)[::-1].cumsum()
    return int(np.searchsorted(ordered, ordered[-1] / 2)) + 1 if ordered[-1] > 0 else 0
