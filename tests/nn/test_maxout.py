import pytest
import torch
from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.nn.maxout import Maxout


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_each_unit_is_the_largest_of_its_pieces(axes: int) -> None:
    x = torch.randn(2, 12, *[3] * axes, dtype=torch.float64)
    y = Maxout(3)(x)
    assert y.shape == (2, 4, *[3] * axes)
    for unit in range(4):
        a, b, c = x[:, 3 * unit], x[:, 3 * unit + 1], x[:, 3 * unit + 2]
        assert torch.equal(y[:, unit], torch.maximum(torch.maximum(a, b), c))


def test_gradients() -> None:
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Maxout(2), x)


def test_two_pieces_can_be_the_absolute_value() -> None:
    net = nn.Sequential(nn.Linear(1, 2, bias=False), Maxout(2))
    net[0].weight.data = torch.tensor([[1.0], [-1.0]])
    x = torch.randn(20, 1)
    assert torch.equal(net(x), x.abs())


def test_mistakes_are_explained() -> None:
    with pytest.raises(ShapeError, match="maxout of 4 pieces does not fit 6 channels: 6 / 4 leav"):
        Maxout(4)(torch.zeros(1, 6))
    with pytest.raises(ConfigError, match="num_pieces must be at least 1, received 0"):
        Maxout(0)
