"""The arrays of a forward or backward pass as rows of small pictures with a sign."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import (
    BLUE,
    BODY_PX,
    FRAME,
    MARGIN_PX,
    PAPER,
    PURPLE,
    SMALL_PX,
    SOFT,
    VERMILLION,
)
from convolens.visual.text import measure, shorten, write
from convolens.visual.tiles import enlarge, sheet

_WIDTH_PX = 700
_LARGEST_TILE_PX = 150
_GAP_PX = 8
_TITLE_ROW_PX = 46


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """Maps that share one scale.

    Args:
        title: what they are.
        values: (M, H, W).
    """

    title: str
    values: NDArray[np.floating]


def signed_maps(rows: Sequence[MapRow]) -> Figure:
    """Draws maps from −max |v| (blue) over 0 (white) to max |v| (vermillion), a scale for each row.

    A value that is NaN or infinite is purple. The number at the right end of a row is its max |v|.

    Args:
        rows: at least one.
    Shape: values (M, H, W) each -> pixels (H', W', 3)
    Raises:
        ShapeError: when there is no row, or its values are no (M, H, W) of at least one pixel.
    Example:
        >>> signed_maps([MapRow(title="dx", values=np.ones((3, 8, 8)))]).caption
        'Blue is negative, white 0, vermillion positive; greatest size in each row: dx 1.'
    """
    if not rows:
        raise ShapeError("signed maps need at least one row, received none")
    for row in rows:
        if row.values.ndim != 3 or row.values.size == 0:
            raise ShapeError(
                f"the maps of row '{row.title}' must have shape (M, H, W), none of them 0, "
                f"received {row.values.shape}"
            )
    greatest = [_greatest(row.values) for row in rows]
    sheets = [_sheet(row.values, size or 1.0) for row, size in zip(rows, greatest, strict=True)]
    sizes = ", ".join(f"{row.title} {v:.3g}" for row, v in zip(rows, greatest, strict=True))
    return Figure(
        name="signed-maps",
        caption=(
            f"Blue is negative, white 0, vermillion positive; greatest size in each row: {sizes}."
        ),
        pixels=_draw([row.title for row in rows], greatest, sheets),
    )


def map_tiles(values: NDArray[np.floating], limit: float) -> Pixels:
    """Each map as a small picture; ±limit and beyond have the full colour.

    Shape: (M, H, W) -> (M, H, W, 3)
    """
    finite = np.isfinite(values)
    level = np.clip(np.where(finite, values, 0.0).astype(np.float64) / limit, -1.0, 1.0)[..., None]
    full = np.where(level < 0.0, np.array(BLUE, np.float64), np.array(VERMILLION, np.float64))
    tiles: Pixels = np.rint(255.0 + (full - 255.0) * np.abs(level)).astype(np.uint8)
    tiles[~finite] = PURPLE
    return tiles


def _greatest(values: NDArray[np.floating]) -> float:
    """The greatest finite |v|."""
    return float(np.abs(values[np.isfinite(values)], dtype=np.float64).max(initial=0.0))


def _sheet(values: NDArray[np.floating], limit: float) -> Pixels:
    """The maps of a row, enlarged to the picture's width, each in a thin frame."""
    count, height, width = values.shape
    room = (_WIDTH_PX + _GAP_PX) // count - _GAP_PX - 2
    factor = max(1, min(room, _LARGEST_TILE_PX) // max(height, width))
    tiles = enlarge(map_tiles(values, limit), factor)
    framed = np.pad(tiles, ((0, 0), (1, 1), (1, 1), (0, 0)))
    edge = np.pad(np.zeros(tiles.shape[:3], bool), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    framed[edge] = FRAME
    columns = max(1, min(count, (_WIDTH_PX + _GAP_PX) // (framed.shape[2] + _GAP_PX)))
    return sheet(framed, columns, (_GAP_PX, _GAP_PX))


def _draw(titles: Sequence[str], greatest: Sequence[float], sheets: Sequence[Pixels]) -> Pixels:
    width = max(_WIDTH_PX, *(pixels.shape[1] for pixels in sheets))
    height = sum(pixels.shape[0] + _TITLE_ROW_PX + MARGIN_PX // 2 for pixels in sheets)
    image = Image.new("RGB", (width + 2 * MARGIN_PX, height + MARGIN_PX), PAPER)
    top = MARGIN_PX // 2
    for title, value, pixels in zip(titles, greatest, sheets, strict=True):
        size = f"max {value:.2g}"
        y = top + _TITLE_ROW_PX / 2
        room = width - measure(size, SMALL_PX) - MARGIN_PX
        write(image, (MARGIN_PX, y), shorten(title, BODY_PX, room), size=BODY_PX)
        write(image, (MARGIN_PX + width, y), size, size=SMALL_PX, colour=SOFT, anchor="r")
        top += _TITLE_ROW_PX
        image.paste(Image.fromarray(pixels), (MARGIN_PX, top))
        top += pixels.shape[0] + MARGIN_PX // 2
    return np.asarray(image)
