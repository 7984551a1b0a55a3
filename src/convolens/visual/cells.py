"""Grids of numbers as they are drawn on squared paper: one coloured cell for each value."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.visual.figure import Pixels
from convolens.visual.style import FRAME, INK, VERMILLION, Colour
from convolens.visual.text import measure, write

_VALUE_SHARE = 0.42  # of a cell's side, the height of its number
_WEIGHT_SHARE = 0.3
_INSET = 0.08  # of a cell's side, what a number keeps from its edges


def number(value: float) -> str:
    """A value in three digits at most, short enough for a cell.

    Example:
        >>> [number(v) for v in (15.0, -0.5, 1 / 3, 12345.0)]
        ['15', '-0.5', '0.333', '1e4']
    """
    short = f"{value:.3g}"
    if "e" not in short:
        return short
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def fill(height: int, width: int, colour: Colour) -> Pixels:
    """One colour for every cell of a grid.

    Shape: -> (height, width, 3)
    """
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def draw_cells(
    image: Image.Image,
    corner: tuple[int, int],
    words: Sequence[Sequence[str]],
    fills: Pixels,
    side: int,
    inks: NDArray[np.uint8] | None = None,
) -> None:
    """Draws a grid whose top left corner is at `corner` (across, down), a word in each cell.

    Args:
        words: row by row; a word too long for its cell is written smaller.
        fills: the colour of each cell.
        side: of a cell [px].
        inks: the colour of each word; None for black.
    Shape: fills and inks (rows, columns, 3)
    """
    left, top = corner
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(words):
        for column, word in enumerate(line):
            x, y = left + column * side, top + row * side
            paint = tuple(int(v) for v in fills[row, column])
            draw.rectangle((x, y, x + side, y + side), fill=paint, outline=FRAME, width=2)
            ink = INK if inks is None else (*(int(v) for v in inks[row, column]),)
            size = fitting_size(word, round(_VALUE_SHARE * side), (1 - 2 * _INSET) * side)
            at = (x + side / 2, y + side / 2)
            write(image, at, word, size=size, colour=(ink[0], ink[1], ink[2]), anchor="m")


def draw_weight(image: Image.Image, corner: tuple[int, int], side: int, word: str) -> None:
    """Writes the weight that a cell is multiplied by, small, into its lower right."""
    size = fitting_size(word, round(_WEIGHT_SHARE * side), 0.5 * side)
    at = (corner[0] + (1 - _INSET) * side, corner[1] + 0.8 * side)
    write(image, at, word, size=size, colour=VERMILLION, anchor="r")


def draw_border(
    image: Image.Image, corner: tuple[int, int], size: tuple[int, int], colour: Colour
) -> None:
    """Draws a thick frame around a rectangle of size (across, down)."""
    left, top = corner
    box = (left - 1, top - 1, left + size[0] + 1, top + size[1] + 1)
    ImageDraw.Draw(image).rectangle(box, outline=colour, width=5)


def fitting_size(word: str, size: int, most_px: float) -> int:
    """The greatest size of type, at most `size`, at which a word is no wider than `most_px`."""
    width = measure(word, size)
    return size if width <= most_px else max(6, int(size * most_px / width))
