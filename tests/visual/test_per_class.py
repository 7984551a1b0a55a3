import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.per_class import per_class
from convolens.visual.style import BLUE


def test_each_bar_is_as_long_as_the_class_is_right() -> None:
    matrix = np.array([[1, 3, 0], [0, 4, 0], [2, 0, 2]])
    figure = per_class(matrix, ["a", "b", "c"])
    is_bar = (figure.pixels == BLUE).all(2)
    lengths = [int(n) for n in is_bar.sum(1)]
    runs = [n for n, before in zip(lengths, [0, *lengths], strict=False) if n > 0 and before == 0]
    # The line of the mean, 3 px wide, stands on the longest; a quarter, a half, all of 520 px.
    assert runs[0] == 131
    assert runs[1] == 261
    assert runs[2] == pytest.approx(521, abs=3)
    assert "the least is a, 1 of 4 (25.0%), the greatest b (100.0%)" in figure.caption
    assert "58.3%" in figure.caption


def test_classes_without_pictures_are_left_out() -> None:
    figure = per_class(np.array([[5, 0], [0, 0]]), ["a", "b"])
    assert "Without any picture: 1 of the 2 classes" in figure.caption


def test_matrices_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"3 classes must have shape \(3, 3\)"):
        per_class(np.zeros((2, 2), int), ["a", "b", "c"])
    with pytest.raises(ShapeError, match="holds no picture"):
        per_class(np.zeros((2, 2), int), ["a", "b"])
