import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convolens.errors import ConfigError
from convolens.nn.inception import Inception, conv_relu

MODULE_3A = (192, 64, 96, 128, 16, 32, 32)


def convolve(x: torch.Tensor, block: nn.Module, padding: int = 0) -> torch.Tensor:
    conv = block.get_submodule("conv")
    return F.conv2d(x, conv.weight, conv.bias, padding=padding).relu()


def test_the_output_is_the_equation() -> None:
    torch.manual_seed(0)
    block = Inception(5, 2, 3, 4, 2, 3, 6).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, 7, 6, dtype=torch.float64)
    parts = [
        convolve(x, block.branch1x1),
        convolve(convolve(x, block.branch3x3.reduce), block.branch3x3.conv, padding=1),
        convolve(convolve(x, block.branch5x5.reduce), block.branch5x5.conv, padding=2),
        convolve(F.max_pool2d(x, 3, stride=1, padding=1), block.branch_pool.project),
    ]
    assert block.out_channels == 2 + 4 + 3 + 6
    torch.testing.assert_close(block(x), torch.cat(parts, dim=1))


def test_the_naive_output_is_the_equation() -> None:
    torch.manual_seed(0)
    block = Inception(5, 2, 0, 4, 0, 3, 0, naive=True).double()
    x = torch.randn(2, 5, 7, 6, dtype=torch.float64)
    parts = [
        convolve(x, block.branch1x1),
        convolve(x, block.branch3x3, padding=1),
        convolve(x, block.branch5x5, padding=2),
        F.max_pool2d(x, 3, stride=1, padding=1),
    ]
    assert block.out_channels == 2 + 4 + 3 + 5
    torch.testing.assert_close(block(x), torch.cat(parts, dim=1))


def test_weights_by_hand_and_what_the_bottleneck_saves() -> None:
    def weights(block: nn.Module) -> int:
        return sum(p.numel() for p in block.parameters() if p.ndim == 4)

    reductions = 192 * (64 + 96 + 16 + 32)
    assert weights(Inception(*MODULE_3A)) == reductions + 96 * 128 * 9 + 16 * 32 * 25 == 163_328
    naive = 192 * (64 + 128 * 9 + 32 * 25)
    assert weights(Inception(*MODULE_3A, naive=True)) == naive == 387_072


def test_batch_norm_takes_the_place_of_biases() -> None:
    block = Inception(*MODULE_3A, norm=True)
    convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [m.out_channels for m in convs]
    assert all(m.bias is None for m in convs)
    assert len(convs) == 6
    assert [name for name, _ in conv_relu(3, 8, 3).named_children()] == ["conv", "relu"]


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("naive", [False, True])
def test_signals_and_volumes(axes: int, naive: bool) -> None:
    """By the equation, with PyTorch's functions of as many axes."""
    conv = {1: F.conv1d, 3: F.conv3d}[axes]
    pool = {1: F.max_pool1d, 3: F.max_pool3d}[axes]

    def convolve(x: torch.Tensor, block: nn.Module, padding: int = 0) -> torch.Tensor:
        layer = block.get_submodule("conv")
        return conv(x, layer.weight, layer.bias, padding=padding).relu()

    torch.manual_seed(0)
    block = Inception(5, 2, 3, 4, 2, 3, 6, naive=naive, num_dimensions=axes).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, *[6] * axes, dtype=torch.float64)
    narrow3, narrow5, pooled = x, x, pool(x, 3, stride=1, padding=1)
    before3, before5, branch3, branch5 = 5, 5, block.branch3x3, block.branch5x5
    projection = 0
    if not naive:
        narrow3, narrow5 = convolve(x, branch3.reduce), convolve(x, branch5.reduce)
        pooled = convolve(pooled, block.branch_pool.project)
        before3, before5, branch3, branch5 = 3, 2, branch3.conv, branch5.conv
        projection = 5 * (3 + 2 + 6)
    parts = [
        convolve(x, block.branch1x1),
        convolve(narrow3, branch3, padding=1),
        convolve(narrow5, branch5, padding=2),
        pooled,
    ]
    torch.testing.assert_close(block(x), torch.cat(parts, dim=1))
    weights = sum(p.numel() for p in block.parameters() if p.ndim > 1)
    own = 5 * 2 + before3 * 4 * 3**axes + before5 * 3 * 5**axes
    assert weights == own + projection


def test_batch_norm_of_signals() -> None:
    block = Inception(5, 2, 3, 4, 2, 3, 6, norm=True, num_dimensions=1)
    assert sum(isinstance(m, nn.BatchNorm1d) for m in block.modules()) == 6
    assert block(torch.zeros(2, 5, 9)).shape == (2, 15, 9)


@pytest.mark.parametrize(
    ("channels", "naive", "message"),
    [
        ((8, 4, 0, 4, 4, 4, 4), False, "Inception: ch3x3_reduce must be at least 1, received 0"),
        ((8, 4, 4, 4, 4, 4, 0), False, "Inception: pool_proj must be at least 1, received 0"),
        ((8, 4, 0, 4, 0, -1, 0), True, "Inception: ch5x5 must be at least 1, received -1"),
    ],
)
def test_a_branch_without_channels_is_named(
    channels: tuple[int, ...], naive: bool, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Inception(*channels, naive=naive)
    assert str(caught.value) == message
