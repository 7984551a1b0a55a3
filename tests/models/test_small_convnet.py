import pytest
import torch
from torch import nn

from convolens.models import small_convnet


@pytest.mark.parametrize(("size", "stages"), [(8, 1), (12, 2), (28, 3), (32, 3), (64, 4), (128, 5)])
def test_stages_follow_the_size(size: int, stages: int) -> None:
    net = small_convnet(image_size=size, width=4)
    assert sum(name.startswith("stage") for name, _ in net.named_children()) == stages
    assert net(torch.randn(2, 3, size, size)).shape == (2, 10)


def test_pooling_before_relu_equals_relu_before_pooling() -> None:
    torch.manual_seed(0)
    stage = small_convnet(image_size=28, in_channels=1).stage1.eval()
    with torch.no_grad():
        stage.norm.weight.uniform_(0.5, 2)
        x = torch.randn(3, 1, 28, 28)
        usual = stage.pool(stage.relu(stage.norm(stage.conv(x))))
        torch.testing.assert_close(stage(x), usual)


def test_width_doubles_with_each_stage() -> None:
    net = small_convnet(image_size=64, width=8)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [8, 16, 32, 64]
    assert all(c.bias is None for c in convs)
