"""The kernels of a convolution as pictures, before and after training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import (
    MARGIN_PX,
    PAPER,
    PURPLE,
    SMALL_PX,
    SOFT,
    TITLE_PX,
    Colour,
)
from convolens.visual.text import measure, write
from convolens.visual.tiles import enlarge, sheet, square_columns

MOST_TILES = 256
_SHEET_PX = 760
_LARGEST_TILE_PX = 160
_TITLE_ROW_PX = 60
_LEGEND_PX = (360, 28)
# No grey and no likely colour of a filter: what is NaN or infinite must not pass for a weight.
BROKEN: Colour = PURPLE

Weights = NDArray[np.floating]


def filters(before: Weights, after: Weights | None = None) -> Figure:
    """Draws the kernels of a convolution: brightness is 127.5·(1 + w / max |w|), so 0 is grey.

    Before and after share one scale. Kernels of one input channel are grey; of three, RGB; of any
    other number, each row of the picture is one filter and each column one input channel. At most
    256 tiles are shown. A weight that is NaN or infinite is purple.

    Args:
        before: the weights of a convolution.
        after: the same weights later; None to show one set alone.
    Shape: (O, I, kh, kw) each -> pixels (H, W, 3)
    Raises:
        ShapeError: when they are no (O, I, kh, kw), empty, or differ in shape.
    Example:
        >>> filters(np.zeros((6, 1, 5, 5)), np.ones((6, 1, 5, 5))).caption
        '6 filters of 1×5×5 on one scale, from −1 (black) to 1 (white), before and after training.'
    """
    _check(before, after)
    sets = [before] if after is None else [before, after]
    limit = scale_limit(sets)
    columns, shown = _shown(before.shape)
    sheets = [filter_sheet(weights[:shown, :MOST_TILES], limit, columns) for weights in sets]
    titles = ["filters"] if after is None else ["before training", "after training"]
    unit = "weight of each colour" if before.shape[1] == 3 else "weight"
    caption = _caption(before, after, limit, shown)
    return Figure(name="filters", caption=caption, pixels=_draw(sheets, titles, limit, unit))


def scale_limit(sets: Sequence[Weights]) -> float:
    """The greatest finite |w| of all sets, the white end of their scale; 1 where all are 0."""
    sizes = [np.abs(w[np.isfinite(w)], dtype=np.float64).max(initial=0.0) for w in sets]
    return float(max(sizes)) or 1.0


def filter_tiles(weights: Weights, limit: float) -> Pixels:
    """Each kernel as a small picture: 0 is grey (128), −limit black, +limit white.

    Shape: weights (O, 1 or 3, kh, kw) -> (O, kh, kw, 3); (O, I, kh, kw) -> (O·I, kh, kw, 3)
    """
    num_filters, channels, height, width = weights.shape
    if channels not in (1, 3):
        weights = weights.reshape(num_filters * channels, 1, height, width)
    finite = np.isfinite(weights)
    level = np.where(finite, weights, 0.0).astype(np.float64) / limit
    # Half-to-even rounding would make 0 (127.5) the same grey, 128, but for a last bit lost.
    grey = np.floor(127.5 * (1.0 + np.clip(level, -1.0, 1.0)) + 0.5).astype(np.uint8)
    rgb = np.broadcast_to(grey, (len(grey), 3, height, width)).transpose(0, 2, 3, 1).copy()
    rgb[~finite.all(axis=1)] = BROKEN
    return rgb


def filter_sheet(weights: Weights, limit: float, columns: int) -> Pixels:
    """The kernels enlarged and laid out on white, `columns` in a row."""
    tiles = filter_tiles(weights, limit)
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1:3]
    room = min(_SHEET_PX // columns - 4, _SHEET_PX // rows - 4, _LARGEST_TILE_PX)
    factor = max(1, room // max(height, width))
    gap = max(4, factor // 2)
    return sheet(enlarge(tiles, factor), columns, (gap, gap))


def _shown(shape: tuple[int, ...]) -> tuple[int, int]:
    """Tiles in a row, and how many filters are shown."""
    num_filters, channels = shape[:2]
    if channels in (1, 3):
        shown = min(num_filters, MOST_TILES)
        return square_columns(shown), shown
    return min(channels, MOST_TILES), min(num_filters, max(1, MOST_TILES // channels))


def _draw(sheets: Sequence[Pixels], titles: Sequence[str], limit: float, unit: str) -> Pixels:
    height, width = sheets[0].shape[:2]
    step = max(width, int(max(measure(title, TITLE_PX) for title in titles))) + 2 * MARGIN_PX
    top = MARGIN_PX + _TITLE_ROW_PX
    total = max(len(sheets) * step, _LEGEND_PX[0] + int(measure(unit, SMALL_PX)) + 3 * MARGIN_PX)
    image = Image.new("RGB", (total, top + height + 2 * MARGIN_PX + 90), PAPER)
    for index, (pixels, title) in enumerate(zip(sheets, titles, strict=True)):
        left = MARGIN_PX + index * step
        write(image, (left, MARGIN_PX + 16), title, size=TITLE_PX)
        image.paste(Image.fromarray(pixels), (left, top))
    _draw_legend(image, top + height + MARGIN_PX, limit, unit)
    return np.asarray(image)


def _draw_legend(image: Image.Image, top: int, limit: float, unit: str) -> None:
    left, (width, height) = MARGIN_PX, _LEGEND_PX
    ramp = np.linspace(-limit, limit, width).reshape(1, 1, 1, width)
    bar = filter_tiles(ramp, limit)[0].repeat(height, axis=0)
    image.paste(Image.fromarray(bar), (left, top))
    y = top + height + 22
    # Pillow's own font has no minus sign, so a hyphen stands for it.
    write(image, (left, y), f"-{limit:.3g}", size=SMALL_PX, colour=SOFT)
    write(image, (left + width / 2, y), "0", size=SMALL_PX, colour=SOFT, anchor="m")
    write(image, (left + width, y), f"{limit:.3g}", size=SMALL_PX, colour=SOFT, anchor="r")
    at = (left + width + 20, top + height / 2)
    write(image, at, unit, size=SMALL_PX, colour=SOFT)


def _caption(before: Weights, after: Weights | None, limit: float, shown: int) -> str:
    count, *kernel = before.shape
    some = f"The first {shown} of {count}" if shown < count else f"{count}"
    noun = "filter" if count == 1 else "filters"
    size = "×".join(str(side) for side in kernel)
    words = (
        f"{some} {noun} of {size} on one scale, from −{limit:.3g} (black) to {limit:.3g} (white)"
    )
    words += ", before and after training." if after is not None else "."
    if kernel[0] not in (1, 3):
        words += " Each row is one filter, each column one input channel."
    broken = sum(int((~np.isfinite(w)).sum()) for w in (before, after) if w is not None)
    if broken:
        words += f" Purple marks what is NaN or infinite: {broken:,} of the weights."
    return words


def _check(before: Weights, after: Weights | None) -> None:
    if before.ndim != 4 or before.size == 0:
        raise ShapeError(
            f"filters must have shape (O, I, kh, kw), none of them 0, received {before.shape}"
        )
    if after is not None and after.shape != before.shape:
        raise ShapeError(
            "filters before and after training must have one shape, "
            f"received {before.shape} and {after.shape}"
        )
