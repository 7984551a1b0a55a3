import pytest
import torch
from torch import nn

from convolens.errors import ConfigError
from convolens.models import lenet5


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_each_layer_by_hand() -> None:
    net = lenet5()
    assert count(net.conv1) == 6 * (5 * 5 * 1 + 1) == 156
    assert count(net.conv2) == 16 * (5 * 5 * 6 + 1) == 2416
    assert count(net.fc1) == 120 * (16 * 5 * 5 + 1) == 48_120
    assert count(net.fc2) == 84 * (120 + 1) == 10_164
    assert count(net) == 61_706


def test_volumes_of_the_paper() -> None:
    volumes = {}
    x = torch.zeros(1, 1, 32, 32)
    for name, layer in lenet5().named_children():
        x = layer(x)
        volumes[name] = tuple(x.shape[1:])
    assert volumes["conv1"] == (6, 28, 28)
    assert volumes["pool1"] == (6, 14, 14)
    assert volumes["conv2"] == (16, 10, 10)
    assert volumes["pool2"] == (16, 5, 5)
    assert (volumes["fc1"], volumes["fc2"], volumes["fc3"]) == ((120,), (84,), (10,))


def test_variants() -> None:
    kinds = {type(m) for m in lenet5(activation="relu", pooling="max").modules()}
    assert {nn.ReLU, nn.MaxPool2d} <= kinds
    assert not {nn.Tanh, nn.AvgPool2d} & kinds


@pytest.mark.parametrize("field", ["activation", "pooling"])
def test_an_unknown_variant_is_named(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be one of .*, received 'none'"):
        lenet5(**{field: "none"})
