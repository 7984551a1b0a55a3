import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convolens.visual.axis import Axis, axis_over

NUMBERS = st.floats(-1e100, 1e100).map(lambda v: 0.0 if abs(v) < 1e-100 else v)
POSITIVE = st.floats(1e-100, 1e100)


@given(values=st.lists(NUMBERS, max_size=8), from_zero=st.booleans())
def test_a_linear_axis_shows_every_value_and_has_ticks_in_order(
    values: list[float], from_zero: bool
) -> None:
    axis = axis_over(values, from_zero=from_zero)
    assert all(0 <= axis.fraction(value) <= 1 for value in values)
    ticks = [value for value, _ in axis.ticks()]
    labels = [label for _, label in axis.ticks()]
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(ticks)
    assert len(set(labels)) == len(labels), "no two ticks read the same"
    for value, label in axis.ticks():
        assert -1e-6 <= axis.fraction(value) <= 1 + 1e-6
        read = float(label.replace(",", ""))
        assert read == pytest.approx(value, rel=1e-6, abs=1e-6 * (ticks[1] - ticks[0]))


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks_are_equal_steps_of_one_two_or_five(low: float, span: float) -> None:
    ticks = [value for value, _ in Axis(low=low, high=low + span).ticks()]
    steps = [b - a for a, b in pairwise(ticks)]
    step = steps[0]
    assert steps == pytest.approx([step] * len(steps), rel=1e-3)
    leading = step / 10 ** math.floor(math.log10(step * 1.0001))
    assert min(abs(leading - m) for m in (1, 2, 5)) < 0.01


@given(values=st.lists(POSITIVE, min_size=1, max_size=8))
def test_a_log_axis_gives_equal_ratios_equal_lengths(values: list[float]) -> None:
    axis = axis_over(values, log=True)
    assert all(0 <= axis.fraction(value) <= 1 for value in values)
    middle = math.sqrt(axis.low) * math.sqrt(axis.high)
    assert axis.fraction(middle) == pytest.approx(0.5, abs=1e-6)
    assert 2 <= len(axis.ticks()) <= 8


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        (Axis(low=0.93, high=1.003, percent=True), ["94 %", "96 %", "98 %", "100 %"]),
        (Axis(low=0.985, high=0.992, percent=True),
         ["98.6 %", "98.8 %", "99.0 %", "99.2 %"]),
        (Axis(low=0.5, high=1.5, whole=True), ["1"]),
        (Axis(low=0.9, high=3.1, whole=True), ["1", "2", "3"]),
        (Axis(low=0, high=12_000), ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]),
        (Axis(low=0, high=1.05e-6), ["0", "2e-7", "4e-7", "6e-7", "8e-7", "1e-6"]),
        (Axis(low=0.02, high=3.0, log=True), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]),
        (Axis(low=9e-5, high=1.1, log=True), ["0.0001", "0.001", "0.01", "0.1", "1"]),
    ],
)  # fmt: skip
def test_labels_read_as_people_write_them(axis: Axis, labels: list[str]) -> None:
    assert [label for _, label in axis.ticks()] == labels


def test_an_axis_of_one_value_or_none_still_has_two_ends() -> None:
    assert axis_over([0.7]).low < 0.7 < axis_over([0.7]).high
    assert axis_over([0.0]).low < 0.0 < axis_over([0.0]).high
    assert (axis_over([], from_zero=True).low, axis_over([]).fraction(0.5)) == (0.0, 0.5)
    assert [label for _, label in axis_over([1], whole=True).ticks()] == ["1"]
    assert axis_over([], log=True).ticks()[0] == (1.0, "1")


def test_an_axis_of_shares_has_no_room_for_more_than_all() -> None:
    assert axis_over([1.0, 1.0], percent=True).high < 1.02
