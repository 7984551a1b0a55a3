"""How values are spread in each layer of several networks: a grid of histograms on one axis."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import BLUE, BODY_PX, FRAME, MARGIN_PX, PAPER, SMALL_PX, SOFT
from convolens.visual.text import write

_WIDTH_PX = 700
_GAP_PX = 14
_PLOT_PX = 130
_WORDS_PX = 40  # one line of words
_NUM_BINS = 30


def histograms(
    rows: Mapping[str, Sequence[NDArray[np.floating]]],
    *,
    low: float,
    high: float,
    columns: str = "layer",
) -> Figure:
    """Draws a histogram of each array, all from `low` to `high`, with its standard deviation.

    The height is the share of the values in each of 30 bins, on one scale in a row: a bar of a
    third of the values, or the highest where that is less, fills the plot, and a higher one is cut
    off at its top. Values outside the range count in the first and the last bin.

    Args:
        rows: the arrays of each network, one for each layer, by what tells the networks apart.
        low, high: the ends of the axis, low < high.
        columns: what each array of a row is.
    Shape: arrays of any shape -> pixels (H, W, 3)
    Raises:
        ShapeError: when there is no row, a row has no array, or an array no finite value.
    Example:
        >>> histograms({"std 1": [np.zeros(4), np.array([0.0, 1.0])]}, low=0, high=1).caption
        'From 0 to 1, with the standard deviation below each: std 1: 0, 0.5.'
    """
    if not rows or not all(rows.values()):
        raise ShapeError("histograms need at least one row of at least one array, received none")
    for name, arrays in rows.items():
        for index, values in enumerate(arrays):
            if not np.isfinite(values).any():
                raise ShapeError(f"{columns} {index + 1} of row '{name}' has no finite value")
    spreads = {
        name: [_short(float(np.std(values[np.isfinite(values)]))) for values in arrays]
        for name, arrays in rows.items()
    }
    words = "; ".join(f"{name}: {', '.join(values)}" for name, values in spreads.items())
    return Figure(
        name="histograms",
        caption=(f"From {low:g} to {high:g}, with the standard deviation below each: {words}."),
        pixels=_draw(rows, spreads, (low, high), columns),
    )


def bin_shares(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    """The share of the finite values in each of 30 equal bins; those outside lie in the end bins.

    Shape: any -> (30,)
    """
    finite = np.clip(values[np.isfinite(values)], low, high)
    counts, _ = np.histogram(finite, bins=_NUM_BINS, range=(low, high))
    return np.asarray(counts / finite.size)


def _draw(
    rows: Mapping[str, Sequence[NDArray[np.floating]]],
    spreads: Mapping[str, Sequence[str]],
    ends: tuple[float, float],
    columns: str,
) -> Pixels:
    most = max(len(arrays) for arrays in rows.values())
    width = (_WIDTH_PX + _GAP_PX) // most - _GAP_PX
    step = 3 * _WORDS_PX + _PLOT_PX + MARGIN_PX // 2
    size = (_WIDTH_PX + 2 * MARGIN_PX, MARGIN_PX + _WORDS_PX + len(rows) * step)
    image = Image.new("RGB", size, PAPER)
    for column in range(most):
        x = MARGIN_PX + column * (width + _GAP_PX) + width / 2
        at = (x, MARGIN_PX / 2 + _WORDS_PX / 2)
        write(image, at, f"{columns} {column + 1}", size=SMALL_PX, colour=SOFT, anchor="m")
    for row, (name, arrays) in enumerate(rows.items()):
        top = MARGIN_PX // 2 + _WORDS_PX + row * step
        write(image, (MARGIN_PX, top + _WORDS_PX / 2), name, size=BODY_PX)
        shares = [bin_shares(values, *ends) for values in arrays]
        full = min(1 / 3, max(float(share.max()) for share in shares))
        for column, share in enumerate(shares):
            corner = (MARGIN_PX + column * (width + _GAP_PX), top + _WORDS_PX)
            _draw_bars(image, corner, width, share / full, ends)
            at = (corner[0] + width / 2, corner[1] + _PLOT_PX + 1.4 * _WORDS_PX)
            word = f"std {spreads[name][column]}"
            write(image, at, word, size=SMALL_PX, colour=BLUE, anchor="m")
    return np.asarray(image)


def _draw_bars(
    image: Image.Image,
    corner: tuple[int, int],
    width: int,
    heights: NDArray[np.float64],
    ends: tuple[float, float],
) -> None:
    draw = ImageDraw.Draw(image)
    left, bottom = corner[0], corner[1] + _PLOT_PX
    edges = np.rint(left + width * np.linspace(0.0, 1.0, _NUM_BINS + 1)).astype(int).tolist()
    for index, height in enumerate(np.minimum(heights, 1.0).tolist()):
        if height > 0.0:  # a bar of one pixel at least, so that no value is hidden
            top = bottom - max(1, round(height * _PLOT_PX))
            draw.rectangle((edges[index], top, edges[index + 1] - 1, bottom), fill=BLUE)
    draw.line([(left, bottom), (left + width, bottom)], fill=FRAME, width=2)
    y = bottom + _WORDS_PX * 0.45
    write(image, (left, y), f"{ends[0]:g}", size=SMALL_PX, colour=SOFT)
    write(image, (left + width, y), f"{ends[1]:g}", size=SMALL_PX, colour=SOFT, anchor="r")


def _short(value: float) -> str:
    return f"{value:.2g}"
