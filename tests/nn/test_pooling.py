import pytest
import torch
from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.nn.pooling import GlobalAveragePool, SpatialPyramidPool


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_global_average_is_adaptive_pooling_to_one_position(axes: int) -> None:
    x = torch.randn(2, 5, *range(3, 3 + axes), dtype=torch.float64, requires_grad=True)
    oracle = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[axes - 1](1)
    torch.testing.assert_close(GlobalAveragePool(flatten=False)(x), oracle(x))
    torch.testing.assert_close(GlobalAveragePool()(x), oracle(x).flatten(1))
    assert torch.autograd.gradcheck(GlobalAveragePool(), x)


def test_a_picture_without_positions_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expects \(N, C, …\) .*, received \(4, 10\)"):
        GlobalAveragePool()(torch.zeros(4, 10))


@pytest.mark.parametrize("sides", [(7,), (13, 9), (4, 5, 6)])
def test_the_pyramid_is_the_maximum_of_every_bin(sides: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *sides)
    y = SpatialPyramidPool((2, 1))(x)
    axes = len(sides)
    assert y.shape == (2, 3 * (2**axes + 1))
    assert torch.equal(y[:, -3:], x.flatten(2).amax(2))
    first_bin = (..., *(slice(0, -(-side // 2)) for side in sides))
    assert torch.equal(y[:, 0], x[first_bin][:, 0].flatten(1).amax(1))


def test_the_length_of_the_paper() -> None:
    """Section 2.2: 256 filters and a pyramid of {6×6, 3×3, 2×2, 1×1} give 50 bins each."""
    pool = SpatialPyramidPool()
    assert pool(torch.zeros(1, 256, 13, 13)).shape == pool(torch.zeros(1, 256, 10, 9)).shape
    assert pool(torch.zeros(1, 256, 13, 13)).shape == (1, 50 * 256)


@pytest.mark.parametrize("levels", [(), (0, 1)])
def test_levels_are_numbers_from_one(levels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="levels must be one or more numbers from 1, received"):
        SpatialPyramidPool(levels)
