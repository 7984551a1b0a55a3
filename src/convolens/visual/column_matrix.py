"""Which pixel goes where when the windows of a picture become the rows of a matrix."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.cells import draw_cells
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import BODY_PX, GRID, MARGIN_PX, PAPER, SMALL_PX, SOFT, Colour
from convolens.visual.text import measure, write

_CORNERS: tuple[tuple[Colour, Colour], tuple[Colour, Colour]] = (
    ((120, 190, 235), (250, 225, 110)),
    ((150, 215, 175), (240, 150, 110)),
)
_WIDTH_PX = 700
_LARGEST_CELL_PX = 60
_LEAST_CELL_PX = 18
_TITLE_ROW_PX = 52


def column_matrix(
    height: int,
    width: int,
    matrix: NDArray[np.integer],
    *,
    row_name: str = "tap",
    column_name: str = "window",
) -> Figure:
    """Draws the pixels of a picture in colours of their own, and the matrix they are copied into.

    Neighbouring pixels have similar colours, so a copied window is seen as a whole. The matrix of
    any unfolding is had by unfolding a picture of the numbers 1, 2, 3, … row by row.

    Args:
        height, width: of the picture [px].
        matrix: the number of the pixel in each place, 1 to height·width; 0 is padding, grey.
        row_name, column_name: what each row and each column of the matrix is.
    Shape: matrix (rows, columns) -> pixels (H', W', 3)
    Raises:
        ShapeError: when the matrix is not two-dimensional, holds other numbers, or is too large for
            its numbers to be read.
    Example:
        >>> column_matrix(2, 2, np.array([[1, 2], [3, 4], [0, 0]])).caption
        'The 2×2 pixels of a picture and the 3×2 matrix they are copied into; 2 places are padding.'
    """
    title = f"matrix: a row for each {row_name}, a column for each {column_name}"
    labels = [f"{row_name} {index + 1}" for index in range(len(matrix))]
    margin = int(max((measure(label, SMALL_PX) for label in labels), default=0.0)) + 16
    side = _side(height, width, matrix, margin)
    numbers = np.arange(1, height * width + 1).reshape(height, width)
    colours = np.concatenate((np.array([GRID], np.uint8), pixel_colours(height, width)))
    top = MARGIN_PX // 2 + _TITLE_ROW_PX
    below = top + height * side + MARGIN_PX // 2 + _TITLE_ROW_PX
    across = margin + max(side * max(width, matrix.shape[1]), int(measure(title, BODY_PX)))
    down = below + len(matrix) * side + MARGIN_PX
    image = Image.new("RGB", (across + 2 * MARGIN_PX, down), PAPER)
    left = MARGIN_PX + margin
    for start, heading, values in ((top, "picture", numbers), (below, title, matrix)):
        write(image, (left, start - _TITLE_ROW_PX / 2), heading, size=BODY_PX)
        words = [[str(value) if value else "0" for value in row] for row in values.tolist()]
        draw_cells(image, (left, start), words, colours[values], side)
    for row, label in enumerate(labels):
        at = (left - 16, below + (row + 0.5) * side)
        write(image, at, label, size=SMALL_PX, colour=SOFT, anchor="r")
    return Figure(
        name="column-matrix", caption=_caption(height, width, matrix), pixels=np.asarray(image)
    )


def _side(height: int, width: int, matrix: NDArray[np.integer], margin: int) -> int:
    """The side of a cell [px], or why there can be none."""
    if height < 1 or width < 1 or matrix.ndim != 2 or matrix.size == 0:
        raise ShapeError(
            "a picture of at least 1×1 px and a matrix (rows, columns) are needed, "
            f"received {height}×{width} px and {matrix.shape}"
        )
    if matrix.min() < 0 or matrix.max() > height * width:
        raise ShapeError(
            f"the matrix may hold 0 (padding) to {height}·{width} = {height * width}, "
            f"received {matrix.min()} to {matrix.max()}"
        )
    cells = max(width, int(matrix.shape[1]))
    side = min(_LARGEST_CELL_PX, (_WIDTH_PX - margin) // cells)
    if side < _LEAST_CELL_PX or max(height, len(matrix)) > 64:
        raise ShapeError(
            f"a matrix of {matrix.shape[0]}×{matrix.shape[1]} beside a picture of "
            f"{height}×{width} px is too large to be drawn in numbers"
        )
    return side


def pixel_colours(height: int, width: int) -> Pixels:
    """A pale colour for each pixel, blended from one colour at each corner: (H·W, 3)."""
    down = np.linspace(0.0, 1.0, height).reshape(-1, 1, 1)
    across = np.linspace(0.0, 1.0, width).reshape(1, -1, 1)
    corner = np.array(_CORNERS, np.float64)
    left = corner[0, 0] * (1 - down) + corner[1, 0] * down
    right = corner[0, 1] * (1 - down) + corner[1, 1] * down
    blend: Pixels = np.rint(left * (1 - across) + right * across).astype(np.uint8)
    return blend.reshape(height * width, 3)


def _caption(height: int, width: int, matrix: NDArray[np.integer]) -> str:
    size = f"{matrix.shape[0]}×{matrix.shape[1]}"
    words = f"The {height}×{width} pixels of a picture and the {size} matrix they are copied into"
    padding = int((matrix == 0).sum())
    if padding == 0:
        return f"{words}."
    return f"{words}; {padding} {'place is' if padding == 1 else 'places are'} padding."
