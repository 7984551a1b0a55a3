from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.visual import filters
from convolens.visual.filters import BROKEN, filter_sheet, filter_tiles, scale_limit
from convolens.visual.tiles import origin, square_columns

RNG = np.random.default_rng(0)


@given(value=st.floats(-2, 2), limit=st.floats(0.1, 10))
def test_a_weight_has_the_grey_of_the_documented_scale(value: float, limit: float) -> None:
    grey = filter_tiles(np.full((1, 1, 1, 1), value), limit)[0, 0, 0].astype(int)
    assert len(set(grey.tolist())) == 1
    assert abs(grey[0] - 127.5 * (1 + np.clip(value / limit, -1, 1))) <= 0.5


def test_three_input_channels_are_red_green_and_blue() -> None:
    weights = np.zeros((2, 3, 1, 1))
    weights[0, :, 0, 0] = (1.0, -1.0, 0.0)
    assert filter_tiles(weights, 1.0)[:, 0, 0].tolist() == [[255, 0, 128], [128, 128, 128]]


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (7, 3, 3, 3), (64, 3, 11, 11), (5, 1, 1, 7)])
def test_cell_i_of_the_sheet_holds_filter_i(shape: tuple[int, ...]) -> None:
    weights = RNG.normal(size=shape)
    limit, columns = scale_limit([weights]), square_columns(shape[0])
    picture = filter_sheet(weights, limit, columns)
    tiles = filter_tiles(weights, limit)
    factor_gap = [
        (factor, gap)
        for factor in range(1, 161)
        for gap in (max(4, factor // 2),)
        if picture.shape[1] == columns * (shape[3] * factor + gap) - gap
    ]
    assert len(factor_gap) == 1, "the width of the sheet gives the size of a tile"
    factor, gap = factor_gap[0]
    assert factor > 1
    for index, tile in enumerate(tiles):
        top, left = origin(index, columns, (shape[2] * factor, shape[3] * factor), (gap, gap))
        cell = picture[top : top + shape[2] * factor, left : left + shape[3] * factor]
        assert np.array_equal(cell[::factor, ::factor], tile)
        assert np.array_equal(cell[factor - 1 :: factor, factor - 1 :: factor], tile)


def test_other_numbers_of_channels_are_a_row_for_each_filter() -> None:
    weights = RNG.normal(size=(4, 2, 3, 3))
    tiles = filter_tiles(weights, 3.0)
    assert tiles.shape == (8, 3, 3, 3)
    assert np.array_equal(tiles[5], filter_tiles(weights[2:3, 1:2], 3.0)[0])
    assert "Each row is one filter" in filters(weights).caption


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (16, 3, 3, 3), (4, 2, 3, 3)])
def test_before_and_after_stand_side_by_side_on_one_scale(
    shape: tuple[int, ...], places_of: Callable[..., list[tuple[int, int]]]
) -> None:
    before, after = RNG.normal(size=shape), 3 * RNG.normal(size=shape)
    limit = max(np.abs(before).max(), np.abs(after).max())
    columns = square_columns(shape[0]) if shape[1] in (1, 3) else shape[1]
    pixels = filters(before, after).pixels
    left = places_of(filter_sheet(before, limit, columns), pixels)
    right = places_of(filter_sheet(after, limit, columns), pixels)
    assert len(left) == len(right) == 1
    assert left[0][0] == right[0][0]
    assert left[0][1] < right[0][1]


def test_filters_of_nothing_are_grey_and_one_set_stands_alone() -> None:
    zeros = np.zeros((4, 1, 3, 3))
    assert (filter_tiles(zeros, scale_limit([zeros])) == 128).all()
    assert "after" not in filters(zeros).caption
    assert filters(zeros).pixels.shape[1] < filters(zeros, zeros).pixels.shape[1]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_marked_and_counted(broken: float) -> None:
    weights = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
    whole = filter_tiles(weights, 4.0)
    weights[2, 1, 0, 2] = broken
    tiles = filter_tiles(weights, 4.0)
    assert tuple(tiles[2, 0, 2]) == BROKEN
    tiles[2, 0, 2] = whole[2, 0, 2]
    assert np.array_equal(tiles, whole)
    assert filters(weights).caption.endswith("NaN or infinite: 1 of the weights.")


@pytest.mark.parametrize("value", [1e-45, 1e38, 3e38])
def test_extreme_weights_have_a_scale(value: float) -> None:
    weights = np.array([value, -value, 0.0, value], np.float32).reshape(1, 1, 2, 2)
    tile = filter_tiles(weights, scale_limit([weights]))[0, ..., 0]
    assert tile.tolist() == [[255, 0], [128, 255]]


def test_no_more_than_256_tiles_are_shown_and_the_rest_is_said() -> None:
    many = np.zeros((300, 1, 2, 2))
    assert filters(many).caption.startswith("The first 256 of 300 filters")
    assert filters(many).pixels.shape == filters(many[:256]).pixels.shape
    deep = np.zeros((8, 100, 2, 2))
    assert filters(deep).caption.startswith("The first 2 of 8 filters")
    assert filters(np.zeros((1, 2000, 1, 1))).pixels.shape[1] < 2200


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (np.zeros((4, 9)), None, r"shape \(O, I, kh, kw\).*received \(4, 9\)"),
        (np.zeros((0, 1, 3, 3)), None, r"received \(0, 1, 3, 3\)"),
        (np.zeros((4, 1, 3, 3)), np.zeros((4, 1, 5, 5)), r"\(4, 1, 3, 3\) and \(4, 1, 5, 5\)"),
    ],
)
def test_what_is_no_set_of_filters_is_refused(
    before: np.ndarray, after: np.ndarray | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        filters(before, after)
