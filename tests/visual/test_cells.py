import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convolens.visual.cells import draw_cells, fill, fitting_size, number
from convolens.visual.style import BLUE, FRAME, GREEN, PAPER
from convolens.visual.text import measure


@given(st.floats(-1e20, 1e20))
def test_a_number_keeps_its_leading_digits(value: float) -> None:
    assert float(number(value)) == pytest.approx(value, rel=0.5)
    if 1e-4 <= abs(value) < 999:
        assert float(number(value)) == pytest.approx(value, rel=0.005)
    assert len(number(value)) <= 10


def test_each_cell_has_its_own_colour_and_a_frame() -> None:
    image = Image.new("RGB", (200, 200), PAPER)
    fills = fill(2, 3, BLUE)
    fills[1, 2] = GREEN
    draw_cells(image, (10, 20), [["", "", ""], ["", "", ""]], fills, 50)
    pixels = np.asarray(image)
    for row in range(2):
        for column in range(3):
            middle = pixels[20 + row * 50 + 25, 10 + column * 50 + 25]
            assert tuple(middle) == (GREEN if (row, column) == (1, 2) else BLUE)
    assert tuple(pixels[20, 30]) == tuple(pixels[120, 30]) == FRAME
    assert tuple(pixels[15, 30]) == tuple(pixels[20 + 2 * 50 + 5, 30]) == PAPER


@given(st.text("0123456789.-", min_size=1, max_size=12), st.integers(20, 200))
def test_a_word_is_made_to_fit(word: str, room: int) -> None:
    size = fitting_size(word, 30, room)
    assert measure(word, size) <= room + 2 or size == 6
