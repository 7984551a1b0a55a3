from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from convolens.errors import DataError
from convolens.report.picture import LARGEST_PX, MOST_BYTES, picture, picture_of_file, small_png
from convolens.visual.figure import Figure


def noise(height: int, width: int) -> Image.Image:
    generator = np.random.default_rng(0)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))


def decoded(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def test_pixels_are_kept_to_the_last_bit_where_there_is_room() -> None:
    image = noise(100, 100)
    assert decoded(small_png(image)).convert("RGB").tobytes() == image.tobytes()


@pytest.mark.parametrize("size", [(900, 1200), (2000, 2000), (3000, 40)])
def test_whatever_is_drawn_the_file_stays_small(size: tuple[int, int]) -> None:
    data = small_png(noise(*size))
    assert len(data) <= MOST_BYTES
    assert max(decoded(data).size) <= LARGEST_PX


def test_a_limit_that_nothing_fits_ends_with_one_pixel() -> None:
    assert 1 in decoded(small_png(noise(40, 50), most_bytes=10)).size


def test_a_picture_takes_half_its_pixels_and_says_what_it_is() -> None:
    figure = Figure(
        name="feature-maps", caption="Six maps.", pixels=np.zeros((30, 41, 3), np.uint8)
    )
    made = picture(figure, look_for="edges.")
    assert made.size == (20, 15)
    assert (made.alt, made.caption, made.look_for) == (
        "Feature maps. Six maps.",
        "Six maps.",
        "edges.",
    )


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_a_file_that_is_no_png_is_named(data: bytes) -> None:
    with pytest.raises(DataError, match=r"figures/filters\.png is not a whole PNG: "):
        picture_of_file(data, "figures/filters.png", "filters", "", "")


def test_a_file_that_is_cut_off_is_named() -> None:
    whole = BytesIO()
    noise(50, 50).save(whole, "PNG")
    with pytest.raises(DataError, match=r"x\.png is not a whole PNG: "):
        picture_of_file(whole.getvalue()[:-2000], "x.png", "x", "", "")


def test_no_other_format_is_opened() -> None:
    other = BytesIO()
    noise(5, 5).save(other, "BMP")
    with pytest.raises(DataError, match="is not a whole PNG"):
        picture_of_file(other.getvalue(), "x.png", "x", "", "")
