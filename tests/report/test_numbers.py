from math import inf, nan, sqrt

import numpy as np
import pytest

from convolens.report.numbers import interval, metric_text, number_in, percent, seconds_text


def test_a_length_of_time_has_two_units_at_most() -> None:
    words = [seconds_text(s) for s in (0.0, 0.999, 9.94, 10, 59.6, 60, 3599, 3600, 90_000)]
    assert words == [
        "0.00 s",
        "1.00 s",
        "9.9 s",
        "10 s",
        "1 min 0 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
        "25 h 0 min",
    ]


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (3, 7), (9836, 10000)])
def test_the_interval_solves_its_equation(right: int, total: int) -> None:
    # Wilson's ends are where |p − share| is 1.96 standard deviations of a share of p.
    share = right / total
    for end in interval(right, total):
        assert abs(end - share) == pytest.approx(1.96 * sqrt(end * (1 - end) / total), abs=1e-12)


def test_the_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    true, total = 0.9, 300
    ends = [interval(int(right), total) for right in generator.binomial(total, true, 2000)]
    covered = np.mean([low <= true <= high for low, high in ends])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_metrics_in_words() -> None:
    assert metric_text("val_accuracy", 0.5) == "50.00 %"
    assert metric_text("loss", 0.123456) == "0.1235"
    assert metric_text("loss", nan) == metric_text("accuracy", inf) == "–"
    assert percent(1 / 3, 0) == "33 %"


def test_only_finite_numbers_count() -> None:
    tree = {"a": 1, "b": "2", "c": nan, "d": True, "e": None, "f": -0.5}
    assert [number_in(tree, key) for key in "abcdefg"] == [1.0, None, None, None, None, -0.5, None]
