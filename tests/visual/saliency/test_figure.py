import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.panels import overlay
from convolens.visual.saliency import SaliencyMap, saliency_figure
from convolens.visual.style import BLUE, VERMILLION


def marks(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The (row, column) of every pixel of a colour."""
    return np.argwhere((pixels == colour).all(2))


def test_each_map_stands_in_the_picture_in_its_own_way() -> None:
    signed = np.zeros((2, 40, 40))
    signed[0, 3, 4], signed[1, 3, 4], signed[0, 7, 8] = 3.0, -1.0, -2.0
    size = np.zeros((2, 40, 40))
    size[1, 20, 21] = -5.0
    maps = [
        SaliencyMap(title="a", values=signed, kind="signed"),
        SaliencyMap(title="b", values=size, kind="size"),
    ]
    figure = saliency_figure(np.full((1, 40, 40), 90, np.uint8), maps, "cat")
    against, speaking = marks(figure.pixels, BLUE), marks(figure.pixels, VERMILLION)
    assert len(against) == 36  # one pixel, six times enlarged
    assert len(speaking) == 72
    # Of the signed map both are 2 after the sum over channels, four pixels apart.
    assert ((speaking + 24)[:, None] == against).all(2).sum() == 36
    # The other map shows the size of −5 as a positive mark.
    assert "'cat'" in figure.caption


def test_an_overlay_lies_on_the_grey_picture() -> None:
    values = np.zeros((40, 40))
    values[5, 6] = 0.1
    picture = np.full((3, 40, 40), 100, np.uint8)
    tile = overlay(picture, values / values.max())
    background = round(255 - 155 * 0.75)
    assert (tile[0, 0] == background).all()
    expected = [round(0.2 * (255 - 155 * 0.75) + 0.8 * v) for v in VERMILLION]
    assert np.abs(tile[30, 36].astype(int) - expected).max() <= 1


def test_a_map_of_another_size() -> None:
    one = SaliencyMap(title="gradient", values=np.ones((5, 5)), kind="size")
    with pytest.raises(ShapeError, match="the map 'gradient' must be as large as its picture"):
        saliency_figure(np.zeros((1, 6, 6), np.uint8), [one], "cat")
