import numpy as np
import pytest

from convolens.errors import ConfigError, ShapeError
from convolens.visual.feature_maps import feature_maps
from convolens.visual.style import BLUE, VERMILLION


def count(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((pixels == colour).all(2).sum())


def test_common_and_own_scale() -> None:
    maps = np.zeros((4, 20, 20))
    maps[0, 2, 3], maps[1, 5, 5], maps[2, 7, 7] = 4.0, 1.0, -4.0
    cell = (160 // 20) ** 2
    common = feature_maps(maps, "conv1")
    assert (count(common.pixels, VERMILLION), count(common.pixels, BLUE)) == (cell, cell)
    own = feature_maps(maps, "conv1", scale="own")
    assert (count(own.pixels, VERMILLION), count(own.pixels, BLUE)) == (2 * cell, cell)
    assert "1 of them are 0 everywhere" in common.caption
    assert "±4" in common.caption


def test_many_maps_and_a_vector() -> None:
    assert "The first 64 of 100 maps" in feature_maps(np.ones((100, 2, 2)), "conv5").caption
    figure = feature_maps(np.array([1.0, -1.0, 0.0]), "fc")
    assert count(figure.pixels, VERMILLION) == count(figure.pixels, BLUE) > 80 * 80


def test_what_is_no_feature_map() -> None:
    with pytest.raises(ShapeError, match=r"must have shape \(C, H, W\)"):
        feature_maps(np.ones((2, 3)), "x")
    with pytest.raises(ConfigError, match="scale must be common or own, received 'log'"):
        feature_maps(np.ones((2, 3, 3)), "x", scale="log")
