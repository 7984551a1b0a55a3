from collections.abc import Callable

import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual import MapRow, signed_maps
from convolens.visual.signed_maps import map_tiles
from convolens.visual.style import BLUE, PAPER, PURPLE, VERMILLION
from convolens.visual.tiles import enlarge

RNG = np.random.default_rng(0)


def test_the_sign_is_a_colour_and_the_size_its_strength() -> None:
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 9.0, np.nan, np.inf]).reshape(1, 1, 8)
    colours = [tuple(c) for c in map_tiles(values, 2.0)[0, 0].tolist()]
    assert colours[0] == BLUE
    assert colours[2] == PAPER
    assert colours[4] == colours[5] == VERMILLION
    assert colours[6] == colours[7] == PURPLE
    for half, full in ((colours[1], BLUE), (colours[3], VERMILLION)):
        assert np.allclose(half, (np.array(full) + PAPER) / 2, atol=0.5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (6, 24, 24), (30, 12, 12), (10, 1, 1), (300, 3, 3)])
def test_every_map_is_in_the_picture_once_and_in_order(
    shape: tuple[int, ...], places_of: Callable[..., list[tuple[int, int]]]
) -> None:
    values = RNG.normal(size=shape)
    pixels = signed_maps([MapRow(title="maps", values=values)]).pixels
    limit = float(np.abs(values).max())
    room = 708 // shape[0] - 10
    factor = max(1, min(room, 150) // max(shape[1:]))
    tiles = enlarge(map_tiles(values, limit), factor)
    found = [places_of(tile, pixels) for tile in tiles]
    assert all(len(places) >= 1 for places in found)
    assert pixels.shape[1] == 780
    if shape[1] > 1:
        assert [places[0] for places in found] == sorted(places[0] for places in found)


def test_each_row_has_its_own_scale_and_says_it() -> None:
    rows = [
        MapRow(title="large", values=np.full((2, 4, 4), 100.0)),
        MapRow(title="small", values=np.full((2, 4, 4), -0.25)),
        MapRow(title="none", values=np.zeros((2, 4, 4), np.float32)),
    ]
    figure = signed_maps(rows)
    assert figure.caption.endswith("greatest size in each row: large 100, small 0.25, none 0.")
    flat = figure.pixels.reshape(-1, 3)
    assert (flat == VERMILLION).all(axis=1).sum() == (flat == BLUE).all(axis=1).sum() > 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "need at least one row"),
        ([MapRow(title="dx", values=np.ones((4, 4)))], r"row 'dx' must .* received \(4, 4\)"),
        ([MapRow(title="dx", values=np.ones((0, 4, 4)))], r"received \(0, 4, 4\)"),
    ],
)
def test_what_cannot_be_drawn_is_named(rows: list[MapRow], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        signed_maps(rows)
