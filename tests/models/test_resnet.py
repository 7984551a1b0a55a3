"""ResNet and its plain twins, of ImageNet and of CIFAR."""

import pytest
import torch
from torch import nn

from convolens.errors import ConfigError
from convolens.models import resnet18, resnet50
from convolens.models.registry import MODELS
from convolens.nn.residual import BasicBlock, Bottleneck, ZeroPadShortcut

IMAGENET = (18, 34, 50, 101, 152)
CIFAR = (20, 32, 44, 56, 110)


def on_meta(name: str, **options: object) -> nn.Sequential:
    with torch.device("meta"):
        return MODELS[name].builder(**options)


def blocks(net: nn.Module) -> list[BasicBlock | Bottleneck]:
    return [m for m in net.modules() if isinstance(m, BasicBlock | Bottleneck)]


def num_params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("depth", [*IMAGENET, *CIFAR])
def test_the_number_of_layers_is_in_the_name(depth: int) -> None:
    net = on_meta(f"resnet{depth}", shortcut="identity")
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth
    sides = [net.conv1.stride[0], *(b.conv2.stride[0] * b.conv1.stride[0] for b in blocks(net))]
    assert sides.count(2) == (4 if depth in IMAGENET else 2)


@pytest.mark.parametrize("depth", [18, 34, 20, 32, 44, 56])
def test_a_plain_twin_has_the_same_weights_and_no_shortcut(depth: int) -> None:
    twin, plain = on_meta(f"resnet{depth}", shortcut="identity"), on_meta(f"plain{depth}")
    shapes = {k: v.shape for k, v in twin.state_dict().items()}
    assert {k: v.shape for k, v in plain.state_dict().items()} == shapes
    assert all(block.downsample is None and not block.adds for block in blocks(plain))
    assert all(block.adds for block in blocks(twin))


def test_without_its_convolutions_only_shortcuts_are_left() -> None:
    torch.manual_seed(0)
    net = MODELS["resnet20"].builder(zero_init_residual=True).eval()
    x = torch.rand(2, 3, 32, 32)
    stem = net.relu(net.bn1(net.conv1(x)))
    with torch.no_grad():
        end = net.layer3(net.layer2(net.layer1(stem)))
    torch.testing.assert_close(end[:, :16], stem[:, :, ::4, ::4])
    assert not end[:, 16:].any()
    plain = MODELS["plain20"].builder().eval()
    assert all(bool(block.bn2.weight.all()) for block in blocks(plain))


def test_shortcuts_of_the_paper() -> None:
    counts = {kind: num_params(on_meta("resnet34", shortcut=kind)) for kind in ("identity",)}
    projections = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert num_params(on_meta("resnet34")) - counts["identity"] == projections
    pads = [m for m in on_meta("resnet20").modules() if isinstance(m, ZeroPadShortcut)]
    assert [(m.in_channels, m.out_channels, m.stride) for m in pads] == [(16, 32, 2), (32, 64, 2)]


def test_the_stride_of_the_paper_stands_in_the_first_convolution() -> None:
    first = blocks(on_meta("resnet50", stride_at="1x1").layer2)[0]
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    first = blocks(on_meta("resnet50").layer2)[0]
    assert (first.conv1.stride, first.conv2.stride) == ((1, 1), (2, 2))


def test_a_small_stem_keeps_the_side() -> None:
    net = on_meta("resnet18", num_classes=10, image_size=32, stem="small").eval()
    x = torch.empty(2, 3, 32, 32, device="meta")
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1"):
        x = net.get_submodule(name)(x)
    assert x.shape == (2, 64, 32, 32)
    assert num_params(net) == 11_173_962


def test_convolutions_begin_as_he_draws_them() -> None:
    torch.manual_seed(0)
    net = resnet18(num_classes=7)
    weight = net.layer3[0].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
    assert net.fc.weight.abs().max() <= 512**-0.5
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones(module.num_features))
            assert torch.equal(module.running_var, torch.ones(module.num_features))
            assert not module.running_mean.any()


def test_unknown_words() -> None:
    with pytest.raises(ConfigError, match="stem must be one of full, small, received 'cifar'"):
        resnet18(stem="cifar")
    with pytest.raises(ConfigError, match="shortcut must be one of projection, identity, none"):
        resnet50(shortcut="padding")
    with pytest.raises(ConfigError, match="stride_at must be one of 3x3, 1x1, received '7x7'"):
        resnet50(stride_at="7x7")
