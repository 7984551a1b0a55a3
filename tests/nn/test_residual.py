import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.nn.residual import BasicBlock, Bottleneck, ZeroPadShortcut


def settled(block: nn.Module) -> nn.Module:
    """In float64 and evaluation, with batch norms that do something."""
    torch.manual_seed(0)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return block.double().eval()


def norm(x: Tensor, module: nn.BatchNorm2d) -> Tensor:
    """Batch norm by its equation."""
    mean, var, weight, bias = (
        t.view(1, -1, 1, 1)
        for t in (module.running_mean, module.running_var, module.weight, module.bias)
    )
    return (x - mean) / (var + module.eps).sqrt() * weight + bias


def picture(channels: int, side: int = 9) -> Tensor:
    return torch.randn(
        2, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize(("stride", "channels"), [(1, 6), (2, 6), (1, 8), (2, 8)])
@pytest.mark.parametrize("shortcut", ["projection", "identity", "none"])
def test_basic_block_is_its_equation(stride: int, channels: int, shortcut: str) -> None:
    block = settled(BasicBlock(6, channels, stride=stride, shortcut=shortcut))
    x = picture(6)
    out = F.relu(norm(F.conv2d(x, block.conv1.weight, stride=stride, padding=1), block.bn1))
    out = norm(F.conv2d(out, block.conv2.weight, padding=1), block.bn2)
    changes = stride > 1 or channels != 6
    if shortcut == "projection" and changes:
        conv, last = block.downsample
        out = out + norm(F.conv2d(x, conv.weight, stride=stride), last)
    elif shortcut != "none":
        out[:, :6] += x[:, :, ::stride, ::stride]
    torch.testing.assert_close(block(x), out.relu())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("stride_at", ["3x3", "1x1"])
@pytest.mark.parametrize("shortcut", ["projection", "none"])
def test_bottleneck_is_its_equation(stride: int, stride_at: str, shortcut: str) -> None:
    block = settled(Bottleneck(6, 4, 16, stride=stride, stride_at=stride_at, shortcut=shortcut))
    first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
    x = picture(6)
    out = F.relu(norm(F.conv2d(x, block.conv1.weight, stride=first), block.bn1))
    out = F.relu(
        norm(F.conv2d(out, block.conv2.weight, stride=second, padding=1), block.bn2),
    )
    out = norm(F.conv2d(out, block.conv3.weight), block.bn3)
    if shortcut == "projection":
        conv, last = block.downsample
        out = out + norm(F.conv2d(x, conv.weight, stride=stride), last)
    torch.testing.assert_close(block(x), out.relu())


@pytest.mark.parametrize("kind", ["BasicBlock", "Bottleneck"])
def test_names_and_outputs_are_torchvisions(kind: str) -> None:
    resnet = pytest.importorskip("torchvision.models.resnet")
    projection = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16))
    planes = {"BasicBlock": 16, "Bottleneck": 4}[kind]
    theirs = settled(getattr(resnet, kind)(8, planes, 2, projection))
    own = BasicBlock(8, 16, stride=2) if kind == "BasicBlock" else Bottleneck(8, 4, 16, stride=2)
    own.double().eval().load_state_dict(theirs.state_dict())
    torch.testing.assert_close(own(picture(8)), theirs(picture(8)))
    assert [name for name, _ in own.named_children()] == [n for n, _ in theirs.named_children()]


def test_gradients_of_a_block_are_those_of_finite_differences() -> None:
    block = settled(BasicBlock(2, 3, stride=2, shortcut="identity"))
    assert torch.autograd.gradcheck(block, picture(2, 5).requires_grad_())


def test_the_zero_padding_keeps_every_second_pixel() -> None:
    x = picture(3, 5)
    out = ZeroPadShortcut(3, 7, stride=2)(x)
    assert torch.equal(out[:, :3], x[:, :, [0, 2, 4]][:, :, :, [0, 2, 4]])
    assert out.shape == (2, 7, 3, 3)
    assert not out[:, 3:].any()


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("shortcut", ["projection", "identity"])
def test_signals_and_volumes(axes: int, shortcut: str) -> None:
    """By the equation, with PyTorch's functions of as many axes."""
    conv = {1: F.conv1d, 3: F.conv3d}[axes]
    torch.manual_seed(0)
    x = torch.randn(2, 6, *[5] * axes, dtype=torch.float64)
    blocks = (
        BasicBlock(6, 8, stride=2, shortcut=shortcut, num_dimensions=axes),
        Bottleneck(6, 4, 8, stride=2, shortcut=shortcut, num_dimensions=axes),
    )
    windows = (((3, 2), (3, 1)), ((1, 1), (3, 2), (1, 1)))
    for block, steps in zip(blocks, windows, strict=True):
        block.double().train()
        out = x
        for number, (side, stride) in enumerate(steps, 1):
            weight = getattr(block, f"conv{number}").weight
            assert weight.shape[2:] == (side,) * axes
            out = conv(out, weight, stride=stride, padding=side // 2)
            out = F.batch_norm(out, None, None, training=True)
            out = out.relu() if number < len(steps) else out
        if shortcut == "projection":
            added = conv(x, block.downsample[0].weight, stride=2)
            out = out + F.batch_norm(added, None, None, training=True)
        else:
            out[:, :6] += x[(slice(None), slice(None), *[slice(None, None, 2)] * axes)]
        torch.testing.assert_close(block(x), out.relu())


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ConfigError, match="from 8 to 4") as caught:
        BasicBlock(8, 4, shortcut="identity")
    assert caught.value.hint == 'Use shortcut="projection".'
    message = "shortcut must be one of projection, identity, none, received 'plain'"
    with pytest.raises(ConfigError, match=message):
        BasicBlock(8, 8, shortcut="plain")
    with pytest.raises(ConfigError, match="stride_at must be one of 3x3, 1x1, received '5x5'"):
        Bottleneck(8, 8, 8, stride_at="5x5")
