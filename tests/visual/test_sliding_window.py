import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from convolens.errors import ShapeError
from convolens.visual import sliding_window

PICTURE = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1]])
KERNEL = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2]])


def test_the_worked_example_begins_with_15() -> None:
    caption = sliding_window(PICTURE, KERNEL).caption
    assert caption == (
        "The filter at each of its 2×2 positions; the first sum is "
        "1·2 + 2·0 + 3·1 + 0·0 + 1·1 + 2·2 + 3·1 + 0·0 + 1·2 = 15."
    )


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_the_first_sum_is_that_of_a_correlation(
    height: int, width: int, kernel: tuple[int, int], stride: int, padding: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    picture, weights = rng.integers(-9, 9, (height, width)), rng.integers(-9, 9, kernel)
    if height + 2 * padding < kernel[0] or width + 2 * padding < kernel[1]:
        with pytest.raises(ShapeError, match="does not fit"):
            sliding_window(picture, weights, stride=stride, padding=padding)
        return
    figure = sliding_window(picture, weights, stride=stride, padding=padding)
    sums = correlate2d(np.pad(picture, padding), weights, "valid")[::stride, ::stride]
    shown = f"its {sums.shape[0]}×{sums.shape[1]} positions"
    assert shown in figure.caption
    assert figure.caption.endswith(f" = {sums[0, 0]:.3g}.")
    assert figure.pixels.shape[1] <= 800


def test_every_position_adds_a_panel_until_there_are_nine() -> None:
    heights = [
        sliding_window(np.ones((size, 3)), np.ones((2, 3))).pixels.shape[0] for size in (2, 3, 4)
    ]
    assert heights == sorted(set(heights))
    many = sliding_window(np.ones((8, 8)), np.ones((1, 1)))
    assert "the first 9 of its 8×8 positions" in many.caption


@pytest.mark.parametrize(
    ("picture", "kernel", "padding", "message"),
    [
        (np.ones((1, 4, 4)), np.ones((3, 3)), 0, r"received \(1, 4, 4\) and \(3, 3\)"),
        (np.ones((4, 4)), np.ones((0, 3)), 0, r"received \(4, 4\) and \(0, 3\)"),
        (np.ones((9, 9)), np.ones((3, 3)), 2, r"13×13 px with its padding"),
        (np.ones((2, 4)), np.ones((3, 3)), 0, r"2 \+ 2·0 − 1·\(3 − 1\) − 1 = -1 < 0"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    picture: np.ndarray, kernel: np.ndarray, padding: int, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        sliding_window(picture, kernel, padding=padding)
