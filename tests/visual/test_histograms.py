import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.visual import histograms
from convolens.visual.histograms import bin_shares
from convolens.visual.style import BLUE


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=50))
def test_shares_of_all_values_add_up_to_one(values: list[float]) -> None:
    shares = bin_shares(np.array(values), -1.0, 1.0)
    assert shares.shape == (30,)
    assert shares.sum() == pytest.approx(1.0)


def test_values_lie_in_their_bins_and_those_outside_in_the_end_bins() -> None:
    shares = bin_shares(np.array([-5.0, 0.05, 0.5, 0.99, 7.0, np.nan]), 0.0, 1.0)
    assert np.flatnonzero(shares).tolist() == [0, 1, 15, 29]
    assert shares[[0, 1, 15, 29]].tolist() == [0.2, 0.2, 0.2, 0.4]


def test_bars_are_as_high_as_their_share() -> None:
    values = np.concatenate((np.full(10, 0.5), np.full(20, 0.9), np.full(70, 0.1)))
    pixels = histograms({"a": [values]}, low=0.0, high=1.0).pixels
    blue = (pixels == BLUE).all(axis=2)[60:230].sum(axis=0)  # the plot, without words
    heights = [blue[40 + int(700 * at)] for at in (0.11, 0.51, 0.91)]
    assert heights[0] == 130, "more than a third fills the plot"
    assert heights[1] == pytest.approx(39, abs=1.5)
    assert heights[2] == pytest.approx(78, abs=1.5)


def test_the_caption_has_every_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    rows = {"Xavier": [rng.normal(0, s, 100_000) for s in (1.0, 0.5, 0.25)]}
    assert histograms(rows, low=-3, high=3).caption.endswith("Xavier: 1, 0.5, 0.25.")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "received none"),
        ({"a": []}, "received none"),
        ({"a": [np.ones(2), np.array([np.nan])]}, "layer 2 of row 'a' has no finite value"),
    ],
)
def test_what_cannot_be_drawn_is_named(rows: dict[str, list[np.ndarray]], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        histograms(rows, low=0, high=1)
