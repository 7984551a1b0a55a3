import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.data.annotations import fitted_size, mended

SIZE = (100, 200)
NUMBERS = st.one_of(st.floats(-300, 300), st.sampled_from([math.nan, math.inf, -math.inf]))


@pytest.mark.parametrize(
    ("corners", "expected", "why"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40), ""),
        ((30, 20, 10, 40), (10, 20, 30, 40), "box (30, 20, 10, 40): swapped corners, put right"),
        (
            (-5, 20, 30, 140),
            (0, 20, 30, 100),
            "box (-5, 20, 30, 140): reaches outside of the picture of 200×100 px, clipped",
        ),
        (
            (230, 20, 190, 40),
            (190, 20, 200, 40),
            "box (230, 20, 190, 40): swapped corners, put right and reaches outside of the "
            "picture of 200×100 px, clipped",
        ),
        ((10, 20, 10, 40), None, "box (10, 20, 10, 40): no area; left out"),
        (
            (210, 20, 230, 40),
            None,
            "box (210, 20, 230, 40): outside of the picture of 200×100 px; left out",
        ),
        (
            (10, math.nan, 30, 40),
            None,
            "box (10, nan, 30, 40): expected four finite numbers; left out",
        ),
        ((1, 2, 3), None, "box (1, 2, 3): expected four finite numbers; left out"),
        ((0, 0, 200.01, 100), (0, 0, 200, 100), ""),
    ],
)
def test_what_can_be_mended_is_and_all_is_named(
    corners: tuple[float, ...], expected: tuple[float, ...] | None, why: str
) -> None:
    assert mended(corners, SIZE) == (expected, why)


@settings(max_examples=60, deadline=None)
@given(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_a_mended_box_is_always_sound_and_a_changed_one_always_named(
    corners: tuple[float, float, float, float],
) -> None:
    found, why = mended(corners, SIZE)
    if found is None:
        assert why.endswith("left out")
        return
    x0, y0, x1, y1 = found
    assert 0 <= x0 < x1 <= 200
    assert 0 <= y0 < y1 <= 100
    assert why or max(abs(a - b) for a, b in zip(found, corners, strict=True)) <= 0.05


def test_pixels_counted_from_one_are_both_inside() -> None:
    assert mended((1, 1, 200, 100), SIZE, first=1) == ((0, 0, 200, 100), "")
    assert mended((5, 5, 5, 9), SIZE, first=1)[1] == "box (5, 5, 5, 9): no area; left out"


@pytest.mark.parametrize(
    ("sizes", "side", "expected"),
    [
        ([(480, 640)], None, (256, 320)),
        ([(640, 480), (1280, 960)], None, (320, 256)),
        ([(480, 640), (640, 480)], None, (320, 320)),
        ([(64, 64)], None, (64, 64)),
        ([(50, 60)], None, (64, 64)),
        ([(480, 640)], 640, (480, 640)),
        ([(480, 640)], 100, (96, 100)),
        ([(10, 1000)], 320, (32, 320)),
    ],
)
def test_the_size_follows_the_proportions(
    sizes: list[tuple[int, int]], side: int | None, expected: tuple[int, int]
) -> None:
    assert fitted_size(sizes, side) == expected
