import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.receptive_field import receptive_field
from convolens.visual.style import BLUE


def test_the_frame_stands_around_the_field() -> None:
    picture = np.full((1, 24, 24), 200, np.uint8)
    effective = np.zeros((24, 24))
    effective[6:8, 9:11] = [[4.0, 2.0], [1.0, 1.0]]
    figure = receptive_field(picture, (4, 11), (8, 19), effective, "conv3", (2, 1, 3))
    rows, cols = np.nonzero((figure.pixels == BLUE).all(2))
    # Two panels of 24·10 px; the frame is 5 px wide and begins one pixel outside.
    assert rows.max() - rows.min() + 1 == 8 * 10 + 3
    left = cols[cols < figure.pixels.shape[1] // 2]
    assert left.max() - left.min() + 1 == 12 * 10 + 3
    assert "can see rows 4 to 11 and columns 8 to 19" in figure.caption


def test_a_rectangle_outside_of_the_picture() -> None:
    with pytest.raises(ShapeError, match="do not fit a picture of 8×8 px"):
        receptive_field(np.zeros((1, 8, 8), np.uint8), (0, 8), (0, 3), np.ones((8, 8)), "x", (0,))
