import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual import column_matrix
from convolens.visual.column_matrix import pixel_colours
from convolens.visual.style import GRID


def unfold(padding: int = 0) -> np.ndarray:
    numbers = np.pad(np.arange(1, 17).reshape(4, 4), padding)
    windows = np.lib.stride_tricks.sliding_window_view(numbers, (3, 3))
    return windows.reshape(-1, 9).T


def share(pixels: np.ndarray, colour: np.ndarray) -> int:
    return int((pixels == colour).all(axis=2).sum())


def test_a_pixel_s_colour_covers_as_many_cells_as_it_has_copies() -> None:
    matrix = unfold()
    pixels = column_matrix(4, 4, matrix).pixels
    colours = pixel_colours(4, 4)
    assert len(np.unique(colours, axis=0)) == 16, "each pixel has a colour of its own"
    area = {number: share(pixels, colours[number - 1]) for number in range(1, 17)}
    copies = {number: int((matrix == number).sum()) + 1 for number in range(1, 17)}
    assert (copies[1], copies[6]) == (2, 5)
    for number, count in copies.items():
        # Digits cover a part of a cell; two digits more than one.
        assert 0.6 < area[number] / count / (area[1] / copies[1]) < 1.5


def test_padding_is_grey_and_counted() -> None:
    figure = column_matrix(4, 4, unfold(padding=1))
    assert figure.caption.endswith("44 places are padding.")
    assert share(figure.pixels, np.array(GRID)) > 44 * 25 * 25
    assert share(column_matrix(4, 4, unfold()).pixels, np.array(GRID)) < 100
    assert column_matrix(1, 1, np.array([[0]])).caption.endswith("1 place is padding.")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.arange(4), r"a matrix \(rows, columns\) are needed, received 2×2 px and \(4,\)"),
        (np.array([[5]]), r"0 \(padding\) to 2·2 = 4, received 5 to 5"),
        (np.array([[-1, 2]]), "received -1 to 2"),
        (np.ones((4, 200), int), "a matrix of 4×200 .* is too large to be drawn in numbers"),
    ],
)
def test_what_cannot_be_drawn_is_named(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        column_matrix(2, 2, matrix)
