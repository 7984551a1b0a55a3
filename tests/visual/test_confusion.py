from collections.abc import Callable

import numpy as np
import pytest

from convolens.errors import DataError, ShapeError
from convolens.visual import confusion
from convolens.visual.confusion import cells, most_confused, tint
from convolens.visual.style import BLUE, VERMILLION

RNG = np.random.default_rng(0)


def names(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


def counts(size: int) -> np.ndarray:
    return RNG.integers(0, 9, (size, size)) + 90 * np.eye(size, dtype=int)


def test_a_tint_runs_from_white_to_the_colour_by_the_square_root() -> None:
    shades = tint(np.array([0.0, 0.25, 1.0]), BLUE).astype(int)
    assert shades[0].tolist() == [255, 255, 255]
    assert shades[2].tolist() == list(BLUE)
    assert np.abs(shades[1] - (shades[0] + shades[2]) / 2).max() <= 1


def test_a_rare_mistake_is_seen() -> None:
    rare = tint(np.array([0.01]), VERMILLION)[0].astype(int)
    assert 255 - rare.min() >= 20


def test_each_cell_has_the_tint_of_its_share_of_the_row() -> None:
    matrix = np.array([[3, 1, 0], [0, 8, 0], [5, 5, 0]])
    picture = cells(matrix, 10)
    assert picture.shape == (30, 30, 3)
    for true in range(3):
        for predicted in range(3):
            share = matrix[true, predicted] / matrix[true].sum()
            inside = picture[10 * true + 1 : 10 * true + 9, 10 * predicted + 1 : 10 * predicted + 9]
            colour = BLUE if true == predicted else VERMILLION
            assert (inside == tint(np.array([share]), colour)[0]).all()


def test_colour_does_not_depend_on_how_many_pictures_a_class_has() -> None:
    matrix = counts(4)
    assert np.array_equal(cells(matrix, 5), cells(matrix * [[1], [7], [100], [2]], 5))


def test_in_a_thousand_classes_one_mistake_is_a_mark_of_five_pixels() -> None:
    matrix = np.eye(1000, dtype=int) * 50
    matrix[700, 200] = 25
    picture = cells(matrix, 1)
    mark = (picture == tint(np.array([25 / 75]), VERMILLION)[0]).all(axis=2)
    assert np.argwhere(mark).min(axis=0).tolist() == [698, 198]
    assert np.argwhere(mark).max(axis=0).tolist() == [702, 202]
    assert mark.sum() == 25
    assert (picture[np.arange(700), np.arange(700)] == BLUE).all()


def test_the_pairs_most_confused_come_first_and_the_diagonal_never() -> None:
    matrix = np.array([[50, 2, 9], [0, 60, 0], [9, 1, 70]])
    assert most_confused(matrix) == [(0, 2), (2, 0), (0, 1), (2, 1)]
    assert most_confused(matrix, most=1) == [(0, 2)]
    assert most_confused(np.diag([1, 2])) == []


@pytest.mark.parametrize("size", [1, 2, 3, 10, 20, 21, 100])
def test_the_figure_holds_the_cells(
    size: int, places_of: Callable[..., list[tuple[int, int]]]
) -> None:
    matrix = counts(size)
    pixels = confusion(matrix, names(size)).pixels
    cell = min(150, max(64, 1000 // size)) if size <= 20 else -(-1000 // size)
    wanted = cells(matrix, cell)
    # Numbers stand in the middle of large cells, so a stripe above them is compared.
    stripes = [wanted[row * cell + 2 : row * cell + 8] for row in range(size)]
    found = [places_of(stripe, pixels) for stripe in stripes]
    assert any(
        all((top + row * cell, left) in places for row, places in enumerate(found))
        for top, left in found[0]
    )


def test_classes_are_numbered_only_while_the_numbers_can_be_read() -> None:
    matrix = np.eye(21, dtype=int) * 1000
    small, large = confusion(matrix[:20, :20], names(20)), confusion(matrix, names(21))
    assert small.pixels.shape[1] > large.pixels.shape[1], "no column of recalls beyond 20"


def test_the_caption_counts() -> None:
    figure = confusion(np.array([[98, 2], [12, 88]]), ["ants", "bees"])
    assert figure.caption == (
        "186 of 200 pictures are right (93.00 %); most often confused: bees → ants, 12 times."
    )
    assert confusion(np.diag([3, 4]), names(2)).caption == "7 of 7 pictures are right (100.00 %)."
    assert confusion(np.zeros((2, 2), int), names(2)).caption == "There is no picture to count."


def test_long_and_foreign_names_leave_the_size_within_bounds() -> None:
    odd = ["n" * 300, "犬の種類", "", "a\nb"]
    pixels = confusion(counts(4), odd).pixels
    assert pixels.shape[1] < 2200
    assert (pixels[:, -1] == 255).all(), "nothing runs over the edge"
    assert (pixels[0] == 255).all()


@pytest.mark.parametrize(
    ("matrix", "classes", "error", "message"),
    [
        (np.zeros((2, 3), int), 2, ShapeError, r"must have shape \(2, 2\).*received \(2, 3\)"),
        (np.zeros((3, 3), int), 2, ShapeError, r"of 2 class names.*received \(3, 3\)"),
        (np.zeros((0, 0), int), 0, ShapeError, r"at least one class, received \(0, 0\)"),
        (np.eye(2) / 3, 2, DataError, r"counts, integers of at least 0; received float64"),
        (np.array([[1, -4], [0, 1]]), 2, DataError, r"received the number -4"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(
    matrix: np.ndarray, classes: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        confusion(matrix, names(classes))
