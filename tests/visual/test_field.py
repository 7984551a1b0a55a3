import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.field import draw_field
from convolens.visual.style import BLUE, VERMILLION

GREEN = np.full((64, 64, 3), (0, 160, 0), np.uint8)


def mask(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels == colour).all(axis=2)


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, cols = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return int(rows[0]), int(rows[-1]), int(cols[0]), int(cols[-1])


def test_the_rectangle_covers_the_fields_pixels() -> None:
    pixels = draw_field(GREEN, (8, 23), (16, 47)).pixels
    picture = bounds(mask(pixels, (0, 160, 0)))
    scale = (picture[1] - picture[0] + 1) / 64
    top, bottom, left, right = bounds(mask(pixels, BLUE))
    assert scale == 7
    assert (top - picture[0], bottom - picture[0]) == (8 * scale, 24 * scale - 1)
    assert (left - picture[2], right - picture[2]) == (16 * scale, 48 * scale - 1)


def test_a_field_in_the_padding_is_drawn_outside_the_picture() -> None:
    figure = draw_field(GREEN, (-4, 6), (58, 70))
    picture = bounds(mask(figure.pixels, (0, 160, 0)))
    top, _, _, right = bounds(mask(figure.pixels, BLUE))
    assert top < picture[0]
    assert right > picture[3]
    assert figure.caption == (
        "The unit sees 11×13 pixels, rows −4 to 6 and columns 58 to 70; 101 of them are padding."
    )


def test_heat_is_strongest_where_the_unit_depends_most() -> None:
    effective = np.zeros((64, 64))
    effective[:, 40:] = 1
    pixels = draw_field(GREEN, (0, 63), (0, 63), effective=effective).pixels.astype(int)
    middle = pixels[pixels.shape[0] // 3]
    away = np.abs(middle - VERMILLION).sum(axis=1)
    assert away[-100] < 200 < away[100]


def test_large_pictures_are_reduced() -> None:
    pixels = draw_field(np.zeros((2000, 1000, 3), np.uint8), (0, 10), (0, 10), title="x").pixels
    assert max(pixels.shape) < 1100


@pytest.mark.parametrize(
    ("rows", "cols", "effective", "message"),
    [
        ((5, 4), (0, 1), None, r"rows must be \(first, last\)"),
        ((0, 4), (64, 70), None, "meet the picture's 0 to 63"),
        ((0, 4), (0, 1), np.zeros((3, 3)), "must have the picture's 64×64, received 3×3"),
    ],
)
def test_what_does_not_fit_is_said(rows, cols, effective, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        draw_field(GREEN, rows, cols, effective=effective)


def test_a_grey_picture_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"uint8 of shape \(H, W, 3\)"):
        draw_field(GREEN[:, :, 0], (0, 1), (0, 1))
