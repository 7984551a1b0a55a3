import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convolens.visual.tiles import enlarge, origin, sheet, square_columns

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


@given(factor=st.integers(1, 5))
def test_every_pixel_becomes_a_square_of_itself(factor: int) -> None:
    pictures = noise(3, 4, 6, 3)
    big = enlarge(pictures, factor)
    assert big.shape == (3, 4 * factor, 6 * factor, 3)
    for dy in range(factor):
        for dx in range(factor):
            assert np.array_equal(big[:, dy::factor, dx::factor], pictures)


@given(count=st.integers(1, 500))
def test_a_grid_is_nearly_square_and_wide_rather_than_tall(count: int) -> None:
    columns = square_columns(count)
    rows = -(-count // columns)
    assert rows <= columns <= max(3 * rows, rows + 1)
    assert (rows - 1) * columns < count


@given(count=st.integers(1, 12), columns=st.integers(1, 5), gap=st.integers(0, 4))
def test_each_tile_stands_at_its_origin_and_the_rest_is_paper(
    count: int, columns: int, gap: int
) -> None:
    tiles = noise(count, 4, 3, 3) // 2
    paper = (255, 254, 253)
    picture = sheet(tiles, columns, (gap, gap + 1), paper).copy()
    for index, tile in enumerate(tiles):
        top, left = origin(index, columns, (4, 3), (gap, gap + 1))
        place = picture[top : top + 4, left : left + 3]
        assert np.array_equal(place, tile)
        place[:] = paper
    assert (picture == np.array(paper)).all()
