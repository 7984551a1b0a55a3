import numpy as np
import pytest

from convolens.visual.rate import rate_curve
from convolens.visual.style import BLUE, FRAME


def columns_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.flatnonzero((pixels[140:] == colour).all(axis=2).sum(axis=0))


@pytest.mark.parametrize("place", [10, 60, 100])
def test_the_dashed_line_stands_at_the_suggestion(place: int) -> None:
    rates = np.geomspace(1e-7, 10, 120)
    losses = 2.3 - 2 / (1 + np.exp(-(np.arange(120) - 60) / 5))
    pixels = rate_curve(rates, losses, losses, rates[place]).pixels
    curve = columns_of(pixels, BLUE)
    share = place / 119
    expected = curve.min() + share * (curve.max() - curve.min())
    upright = (pixels[140:440] == FRAME).all(axis=2).sum(axis=0).argmax()
    assert upright == pytest.approx(expected, abs=6)


def test_an_explosion_at_the_end_does_not_flatten_the_fall() -> None:
    rates = np.geomspace(1e-7, 10, 40)
    losses = np.concatenate([np.linspace(2.3, 0.5, 36), [5.0, 1e3, 1e6, 1e9]])
    pixels = rate_curve(rates, losses, losses, rates[20]).pixels
    rows = np.flatnonzero((pixels[140:] == BLUE).all(axis=2).any(axis=1))
    assert rows.max() - rows.min() > 150


def test_the_caption_says_the_rate() -> None:
    figure = rate_curve([0.01, 0.1, 1.0], [2.0, 1.0, 3.0], [2.0, 1.5, 2.0], 0.1)
    assert figure.name == "lr-find"
    assert figure.caption == "Loss at each learning rate; it falls fastest at 0.1."
