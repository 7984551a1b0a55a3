import pytest
from hypothesis import given
from hypothesis import strategies as st

from convolens.analysis.table.numbers import bytes_text, grouped, short, sides, volume

UNITS = {"M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}


def worth(text: str, units: dict[str, int]) -> float:
    number, _, unit = text.partition(" ")
    return float(number.replace(",", "")) * units.get(unit, 1)


@given(st.integers(0, 10**20))
def test_short_keeps_four_digits(number: int) -> None:
    text = short(number)
    assert abs(worth(text, UNITS) - number) <= 5e-4 * number * (number >= 10**6)
    assert len(text) <= 8 or number >= 10**21


@given(st.integers(0, 2**60))
def test_bytes_keep_three_digits(number: int) -> None:
    assert abs(worth(bytes_text(number), BYTES) - number) <= 5.1e-3 * number
    assert len(bytes_text(number)) <= 8


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (999_999, "999,999"),
        (1_000_000, "1.000 M"),
        (999_940_000, "999.9 M"),
        (999_960_000, "1.000 G"),
        (105_415_200, "105.4 M"),
        (15_470_264_320, "15.47 G"),
    ],
)
def test_a_unit_ends_where_the_next_begins(number: int, text: str) -> None:
    assert short(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(1023, "1023 B"), (1024, "1.00 KiB"), (1024**2 - 1, "1.00 MiB"), (1024**2 * 97, "97.0 MiB")],
)
def test_bytes_change_their_unit_at_powers_of_two(number: int, text: str) -> None:
    assert bytes_text(number) == text


def test_volumes_and_sides() -> None:
    assert [volume((96, 55, 55)), volume((4096,)), volume(())] == ["96×55×55", "4,096", "–"]
    assert [sides((11, 11)), sides((1, 7)), sides((3,))] == ["11", "1×7", "3"]
    assert grouped(34944) == "34,944"
