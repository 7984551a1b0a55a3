import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convolens.errors import ConfigError
from convolens.nn.partial_conv import PartialConv2d

TABLE = [(0, 2), (3, 1), (2, 1), (0,), (3,), (0, 1, 2, 3)]


def dense(layer: PartialConv2d, table: list[tuple[int, ...]]) -> nn.Conv2d:
    """A full convolution that holds zeros where the table has no connection."""
    conv = nn.Conv2d(4, len(table), 3).to(layer.weight.dtype)
    nn.init.zeros_(conv.weight)
    with torch.no_grad():
        conv.bias.copy_(layer.bias)
        kernels = iter(layer.weight)
        for o, row in enumerate(table):
            for channel in row:
                conv.weight[o, channel] = next(kernels)
    return conv


def test_it_equals_a_full_convolution_with_zeros() -> None:
    torch.manual_seed(0)
    layer = PartialConv2d(4, TABLE, 3).double()
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    full = dense(layer, TABLE)
    torch.testing.assert_close(layer(x), full(x))
    ours, theirs = (torch.autograd.grad(net(x).square().sum(), x)[0] for net in (layer, full))
    torch.testing.assert_close(ours, theirs)


def test_a_map_sees_its_row_of_the_table_only() -> None:
    layer = PartialConv2d(4, TABLE, 3)
    x = torch.zeros(1, 4, 3, 3, requires_grad=True)
    for o, row in enumerate(TABLE):
        (gradient,) = torch.autograd.grad(layer(x)[0, o].sum(), x)
        seen = gradient[0].abs().sum(dim=(1, 2)).nonzero().flatten().tolist()
        assert seen == sorted(row)


def test_no_parameter_and_no_entry_of_the_state_is_spent_on_the_table() -> None:
    layer = PartialConv2d(4, TABLE, 3)
    assert sum(p.numel() for p in layer.parameters()) == 9 * sum(map(len, TABLE)) + len(TABLE)
    assert layer.state_dict().keys() == {"weight", "bias"}


def test_a_full_table_is_an_ordinary_convolution() -> None:
    layer = PartialConv2d(3, [range(3)] * 5, 2)
    x = torch.randn(1, 3, 4, 4)
    weight = layer.weight.reshape(5, 3, 2, 2)
    torch.testing.assert_close(layer(x), F.conv2d(x, weight, layer.bias))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([(0, 1), ()], r"row 1 of the connection table .*, received \(\)"),
        ([(0, 0)], r"row 0 of the connection table .*, received \(0, 0\)"),
        ([(-1, 0)], r"row 0 of the connection table .*, received \(-1, 0\)"),
        ([(0,), (1, 3)], r"row 1 .* must name maps from 0 to 2, each once, received \(1, 3\)"),
    ],
)
def test_wrong_tables(table: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PartialConv2d(3, table, 3)
