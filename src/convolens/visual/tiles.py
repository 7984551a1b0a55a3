"""Many small pictures as one: enlarged without blur and laid out in a grid."""

import math

import numpy as np
from numpy.typing import NDArray

from convolens.visual.figure import Pixels
from convolens.visual.style import PAPER, Colour


def enlarge(pictures: Pixels, factor: int) -> Pixels:
    """Repeats each pixel factor × factor times, so that small pictures stay crisp.

    Shape: pictures (M, H, W, 3) -> (M, factor·H, factor·W, 3)
    """
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def square_columns(count: int) -> int:
    """The number of columns that makes a grid of `count` tiles nearly square, and full if it can.

    Example:
        >>> [square_columns(n) for n in (1, 2, 7, 8, 64, 96)]
        [1, 2, 3, 4, 8, 12]
    """
    root = max(1, math.ceil(math.sqrt(count)))
    full = (columns for columns in range(root, root + root // 2 + 1) if count % columns == 0)
    return next(full, root)


def origin(
    index: int, columns: int, tile_size: tuple[int, int], gap: tuple[int, int]
) -> tuple[int, int]:
    """The top and left pixel of tile `index` in a sheet; sizes and gaps are (rows, columns)."""
    row, column = divmod(index, columns)
    return row * (tile_size[0] + gap[0]), column * (tile_size[1] + gap[1])


def sheet(tiles: Pixels, columns: int, gap: tuple[int, int], paper: Colour = PAPER) -> Pixels:
    """Lays tiles out row by row, with a gap (rows, columns) between them.

    Shape: tiles (M, h, w, 3) -> (rows·(h + gap) − gap, columns·(w + gap) − gap, 3)
    """
    count, height, width, _ = tiles.shape
    rows = math.ceil(count / columns)
    canvas: NDArray[np.uint8] = np.empty(
        (rows * (height + gap[0]) - gap[0], columns * (width + gap[1]) - gap[1], 3), np.uint8
    )
    canvas[:] = paper
    for index, tile in enumerate(tiles):
        top, left = origin(index, columns, (height, width), gap)
        canvas[top : top + height, left : left + width] = tile
    return canvas
