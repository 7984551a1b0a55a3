import pytest
import torch
from torch import nn

from convolens.models import resnet9


def test_filters_and_parameters_are_those_of_the_published_network() -> None:
    # The filters that Page gives: 64 before, 128, 256 and 512 in the layers, blocks of two.
    channels = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512)]
    channels += [(512, 512), (512, 512)]
    convs = sum(9 * i * o for i, o in channels)
    norms = sum(2 * o for _, o in channels)
    net = resnet9()
    assert sum(p.numel() for p in net.parameters()) == convs + norms + 512 * 10
    assert [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)] == [
        o for _, o in channels
    ]


def test_residual_blocks_add() -> None:
    torch.manual_seed(0)
    block = resnet9(width=4).stage2.residual.eval()
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(block(x), x + block.conv2(block.conv1(x)))
        block.conv2.norm.weight.zero_()
        torch.testing.assert_close(block(x), x)


def test_logits_are_scaled() -> None:
    torch.manual_seed(0)
    net = resnet9(width=4).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = net[:-2](x)
        assert features.shape == (2, 32)
        torch.testing.assert_close(net(x), 0.125 * features @ net.fc.weight.T)


@pytest.mark.parametrize("size", [8, 17, 32, 64])
def test_any_size_from_8_px(size: int) -> None:
    assert resnet9(image_size=size, width=4)(torch.randn(2, 3, size, size)).shape == (2, 10)
