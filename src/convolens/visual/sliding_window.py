"""A filter at every position of its input, with the sum that each position gives."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError
from convolens.geometry import output_size
from convolens.visual.cells import draw_border, draw_cells, draw_weight, fill, number
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import (
    BLUE,
    BODY_PX,
    GRID,
    INK,
    MARGIN_PX,
    PAPER,
    SOFT,
    Colour,
)
from convolens.visual.text import write

_WINDOW: Colour = (214, 232, 244)
_WEIGHTS: Colour = (251, 231, 217)
_MOST_POSITIONS = 9
_MOST_CELLS = 12  # in a row of the padded input; beyond it the numbers are too small to read
_WIDTH_PX = 700
_LARGEST_CELL_PX, _LEAST_CELL_PX = 68, 40
_ROW_PX = 46  # for a line of words above or below a grid

Values = NDArray[np.floating] | NDArray[np.integer]


def sliding_window(picture: Values, kernel: Values, *, stride: int = 1, padding: int = 0) -> Figure:
    """Draws a filter at all its positions: y[i, j] = Σ_uv w[u, v] · x[i·S + u − P, j·S + v − P].

    Each position is the input once more, with the window in blue, and in each of its cells the
    value and, small, the weight that it is multiplied by. Padding is grey. At most 9 positions are
    drawn; the output has them all.

    Args:
        picture: the input, one channel.
        kernel: the filter.
        stride: from one position to the next [px].
        padding: zeros around the input [px].
    Shape: picture (H, W), kernel (K_h, K_w) -> pixels (H', W', 3)
    Raises:
        ShapeError: when they are not two-dimensional, the filter does not fit, or the padded input
            is more than 12 px wide or high.
    Example:
        >>> sliding_window(np.eye(3), np.ones((2, 2))).caption
        'The filter at each of its 2×2 positions; the first sum is 1·1 + 0·1 + 0·1 + 1·1 = 2.'
    """
    _check(picture, kernel, padding)
    padded = np.pad(np.asarray(picture, np.float64), padding)
    windows = _windows(padded, kernel.shape, stride)
    sums = np.einsum("ijuv,uv->ij", windows, kernel)
    pixels = _draw(padded, np.asarray(kernel, np.float64), sums, stride, padding)
    return Figure(name="sliding-window", caption=_caption(windows, kernel, sums), pixels=pixels)


def _check(picture: Values, kernel: Values, padding: int) -> None:
    if picture.ndim != 2 or kernel.ndim != 2 or 0 in picture.shape + kernel.shape:
        raise ShapeError(
            "the input and the filter must have shapes (H, W) and (K_h, K_w), none of them 0, "
            f"received {picture.shape} and {kernel.shape}"
        )
    if max(picture.shape) + 2 * padding > _MOST_CELLS:
        height, width = (size + 2 * padding for size in picture.shape)
        raise ShapeError(
            f"an input of {height}×{width} px with its padding cannot be drawn in numbers: "
            f"at most {_MOST_CELLS}×{_MOST_CELLS}"
        )


def _windows(
    padded: NDArray[np.float64], kernel: tuple[int, ...], stride: int
) -> NDArray[np.float64]:
    """(H, W) -> (positions down, positions across, K_h, K_w)."""
    for size, side in zip(padded.shape, kernel, strict=True):
        output_size(size, side, stride=stride)  # says where a filter does not fit
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel[0], kernel[1]))
    return windows[::stride, ::stride]


def _caption(windows: NDArray[np.float64], kernel: Values, sums: NDArray[np.float64]) -> str:
    rows, columns = sums.shape
    each = f"each of its {rows}×{columns} positions"
    if sums.size > _MOST_POSITIONS:
        each = f"the first {_MOST_POSITIONS} of its {rows}×{columns} positions"
    terms = [
        f"{number(float(value))}·{number(float(weight))}"
        for value, weight in zip(windows[0, 0].flat, kernel.flat, strict=True)
    ]
    return f"The filter at {each}; the first sum is {' + '.join(terms)} = {number(sums[0, 0])}."


def _draw(
    padded: NDArray[np.float64],
    kernel: NDArray[np.float64],
    sums: NDArray[np.float64],
    stride: int,
    padding: int,
) -> Pixels:
    height, width = padded.shape
    shown = min(sums.size, _MOST_POSITIONS)
    fitting = (_WIDTH_PX + MARGIN_PX) // (width * _LEAST_CELL_PX + MARGIN_PX)
    in_a_row = min(sums.shape[1], max(1, fitting), shown)
    side = (_WIDTH_PX - MARGIN_PX * (in_a_row - 1)) // (in_a_row * width)
    heads = kernel.shape[1] + sums.shape[1]  # the filter and the output stand side by side
    side = min(side, (_WIDTH_PX - 2 * MARGIN_PX) // heads, _LARGEST_CELL_PX)
    step = (width * side + MARGIN_PX, height * side + 2 * _ROW_PX)
    top = MARGIN_PX // 2 + _ROW_PX + side * max(kernel.shape[0], sums.shape[0]) + MARGIN_PX
    across = max(in_a_row * step[0], side * heads + 3 * MARGIN_PX) + MARGIN_PX
    image = Image.new("RGB", (across, top + -(-shown // in_a_row) * step[1]), PAPER)
    _draw_grid(image, MARGIN_PX, "filter", kernel, _WEIGHTS, side)
    _draw_grid(image, 3 * MARGIN_PX + side * kernel.shape[1], "output", sums, PAPER, side)
    for index in range(shown):
        row, column = divmod(index, sums.shape[1])
        corner = MARGIN_PX + index % in_a_row * step[0], top + index // in_a_row * step[1]
        start = row * stride, column * stride
        _draw_position(image, corner, padded, kernel, start, side, padding)
        at = (corner[0] + width * side / 2, corner[1] + height * side + _ROW_PX * 0.6)
        word = f"sum {number(sums[row, column])}"
        write(image, at, word, size=BODY_PX, colour=BLUE, anchor="m")
    return np.asarray(image)


def _draw_grid(
    image: Image.Image,
    left: int,
    title: str,
    values: NDArray[np.float64],
    colour: Colour,
    side: int,
) -> None:
    """A matrix at the top of the picture, below its title."""
    write(image, (left, MARGIN_PX), title, size=BODY_PX)
    words = [[number(value) for value in row] for row in values.tolist()]
    fills = fill(values.shape[0], values.shape[1], colour)
    draw_cells(image, (left, MARGIN_PX // 2 + _ROW_PX), words, fills, side)


def _draw_position(
    image: Image.Image,
    corner: tuple[int, int],
    padded: NDArray[np.float64],
    kernel: NDArray[np.float64],
    start: tuple[int, int],
    side: int,
    padding: int,
) -> None:
    """The input with the window whose first row and column are `start`."""
    height, width = padded.shape
    fills, inks = fill(height, width, GRID), fill(height, width, SOFT)
    inner = slice(padding, height - padding), slice(padding, width - padding)
    fills[inner], inks[inner] = PAPER, INK
    (top, left), (rows, columns) = start, kernel.shape
    fills[top : top + rows, left : left + columns] = _WINDOW
    words = [[number(value) for value in row] for row in padded.tolist()]
    draw_cells(image, corner, words, fills, side, inks)
    for row in range(rows):
        for column in range(columns):
            at = (corner[0] + (left + column) * side, corner[1] + (top + row) * side)
            draw_weight(image, at, side, f"x{number(kernel[row, column])}")
    at = (corner[0] + left * side, corner[1] + top * side)
    draw_border(image, at, (columns * side, rows * side), BLUE)
