from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual import Figure, png_bytes


def test_png_holds_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    png = png_bytes(Figure(name="noise", caption="", pixels=pixels))
    assert np.array_equal(np.asarray(Image.open(BytesIO(png))), pixels)


@pytest.mark.parametrize(
    ("pixels", "received"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 3)), r"float64 of shape \(4, 4, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 of shape \(4, 4, 4\)"),
    ],
)
def test_other_arrays_are_refused(pixels: np.ndarray, received: str) -> None:
    with pytest.raises(ShapeError, match=rf"of figure 'noise' must be uint8.*received {received}"):
        Figure(name="noise", caption="", pixels=pixels)
