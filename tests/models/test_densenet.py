import pytest
import torch
import torchvision
from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.densenet import (
    ENTRIES,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_cifar,
)

IMAGENET = [densenet121, densenet161, densenet169, densenet201]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("builder", IMAGENET, ids=lambda b: b.__name__)
def test_tensors_have_torchvisions_names_and_shapes(builder: object) -> None:
    with torch.device("meta"):
        ours = builder().state_dict()
        theirs = getattr(torchvision.models, builder.__name__)().state_dict()
    assert [(k, v.shape) for k, v in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


def test_torchvisions_weights_give_torchvisions_output() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.densenet121(num_classes=10)
    for name, buffer in theirs.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            buffer.normal_(std=0.1)
    with torch.device("meta"):
        ours = densenet121(num_classes=10)
    ours.load_state_dict(theirs.state_dict(), assign=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval()(x)
        torch.testing.assert_close(ours.eval()(x), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.01


@pytest.mark.parametrize("builder", IMAGENET, ids=lambda b: b.__name__)
def test_the_depth_is_the_name(builder: object) -> None:
    with torch.device("meta"):
        layers = [m for m in builder().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert f"densenet{len(layers)}" == builder.__name__


@pytest.mark.parametrize(
    ("options", "millions", "exact"),
    [
        ({"depth": 40, "growth_rate": 12, "bottleneck": 0, "compression": 1}, 1.0, 1_019_722),
        ({"depth": 100, "growth_rate": 12, "bottleneck": 0, "compression": 1}, 7.0, 6_979_642),
        ({"depth": 100, "growth_rate": 24, "bottleneck": 0, "compression": 1}, 27.2, 27_249_082),
        ({"depth": 100, "growth_rate": 12}, 0.8, 769_162),
        ({"depth": 250, "growth_rate": 24}, 15.3, 15_324_406),
        ({"depth": 190, "growth_rate": 40}, 25.6, 25_624_430),
    ],
)
def test_parameters_of_table_2(options: dict, millions: float, exact: int) -> None:
    with torch.device("meta"):
        net = densenet_cifar(**options)
    assert count(net) == exact
    assert round(exact / 1e6, 1) == millions


def test_parameters_of_the_cifar_form_by_hand() -> None:
    total, channels = 3 * 24 * 9, 24
    for block in range(3):
        for _ in range(16):
            total += 2 * channels + channels * 48 + 2 * 48 + 48 * 12 * 9
            channels += 12
        if block < 2:
            total += 2 * channels + channels * (channels // 2)
            channels //= 2
    total += 2 * channels + (channels + 1) * 10
    with torch.device("meta"):
        assert count(densenet_cifar()) == total == 769_162


def test_the_memory_efficient_form_gives_the_same_gradients() -> None:
    nets = []
    for memory_efficient in (False, True):
        torch.manual_seed(0)
        net = densenet_cifar(image_size=8, depth=22, memory_efficient=memory_efficient)
        net(torch.randn(4, 3, 8, 8)).square().sum().backward()
        nets.append(net)
    for ours, expected in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)
    for ours, expected in zip(*(net.buffers() for net in nets), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("depth", "bottleneck", "message"),
    [
        (40, 4, "depth must be 4 + 6·n with a bottleneck, received 41\nThe nearest is 40."),
        (40, 0, "depth must be 4 + 3·n without a bottleneck, received 41\nThe nearest is 40."),
    ],
)
def test_a_depth_that_does_not_exist(depth: int, bottleneck: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        densenet_cifar(depth=depth + 1, bottleneck=bottleneck)
    assert str(caught.value) == message


def test_compression_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"compression must be in \(0, 1\], received 1.5"):
        densenet_cifar(compression=1.5)


def test_the_smallest_pictures() -> None:
    for builder, least in ((densenet121, 29), (densenet_cifar, 4)):
        with torch.device("meta"):
            net = builder(image_size=least).eval()
            assert net(torch.zeros(1, 3, least, least)).shape[0] == 1
        with pytest.raises(ShapeError, match="a window of 2 px does not fit into 1 px"):
            builder(image_size=least - 1)


def test_entries_say_what_torchvision_has() -> None:
    assert {entry.builder.__name__: entry.weights for entry in ENTRIES} == {
        **{builder.__name__: True for builder in IMAGENET},
        "densenet_cifar": False,
    }
