import torch
from torch import nn

from convolens.nn.subsampling import Subsampling2d


def test_each_map_is_its_sums_times_a_coefficient_plus_a_bias() -> None:
    torch.manual_seed(0)
    layer = Subsampling2d(3).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    y = layer(x)
    assert y.shape == (2, 3, 2, 3)
    for c in range(3):
        for i in range(2):
            for j in range(3):
                total = x[:, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum(dim=(1, 2))
                expected = layer.weight[c] * total + layer.bias[c]
                torch.testing.assert_close(y[:, c, i, j], expected)


def test_it_begins_as_average_pooling() -> None:
    x = torch.randn(2, 3, 7, 9)
    torch.testing.assert_close(Subsampling2d(3, 3)(x), nn.AvgPool2d(3)(x))


def test_gradients() -> None:
    layer = Subsampling2d(2).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, layer.weight, layer.bias))
