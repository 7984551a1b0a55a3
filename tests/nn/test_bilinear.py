import pytest
import torch
import torch.nn.functional as F

from convolens.errors import ConfigError
from convolens.nn.bilinear import BilinearUpsample, bilinear_kernel


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8, 32])
def test_it_is_bilinear_interpolation_in_the_interior(factor: int, per_channel: bool) -> None:
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    y = BilinearUpsample(3, factor, per_channel=per_channel).double()(x)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    assert y.shape == expected.shape == (2, 3, 5 * factor, 6 * factor)
    edge = factor // 2
    inner = (..., slice(edge, 5 * factor - edge), slice(edge, 6 * factor - edge))
    torch.testing.assert_close(y[inner], expected[inner], atol=1e-6, rtol=0)


def test_the_kernel_spreads_every_pixel_over_factor_squared() -> None:
    for factor in range(1, 9):
        kernel = bilinear_kernel(factor)
        assert kernel.shape == (2 * factor - factor % 2,) * 2
        assert kernel.sum().item() == pytest.approx(factor**2)
        assert torch.equal(kernel, kernel.flip(0, 1))


def test_trainable_or_not() -> None:
    assert BilinearUpsample(3, 2).weight.requires_grad
    fixed = BilinearUpsample(3, 2, trainable=False)
    assert not fixed.weight.requires_grad
    assert list(fixed.state_dict()) == ["weight"]
    assert fixed.weight.shape == (3, 1, 4, 4)
    assert BilinearUpsample(3, 2, per_channel=False).weight.shape == (3, 3, 4, 4)


def test_it_builds_without_values() -> None:
    with torch.device("meta"):
        assert BilinearUpsample(21, 8)(torch.empty(1, 21, 4, 4)).shape == (1, 21, 32, 32)


def test_mistakes_are_explained() -> None:
    with pytest.raises(ConfigError, match="factor must be at least 1, received 0"):
        BilinearUpsample(3, 0)
    with pytest.raises(ConfigError, match="channels must be at least 1, received 0"):
        BilinearUpsample(0, 2)
