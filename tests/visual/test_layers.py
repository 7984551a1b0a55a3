import pytest
import torch
from torch import Tensor, nn

from convolens.analysis.summarize import summarize
from convolens.errors import ConfigError, ShapeError
from convolens.models import densenet_cifar, googlenet, lenet5, lenet5_1998, resnet20, vgg11
from convolens.visual.layers import layers_of, maps_of


def a_picture(channels: int, size: int) -> Tensor:
    return torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("net", "picture", "last", "shape", "embedding"),
    [
        (lenet5(), a_picture(1, 32), "act2", (16, 10, 10), "act4"),
        (lenet5_1998(), a_picture(1, 32), "act4", (16, 5, 5), "act6"),
        (resnet20(), a_picture(3, 32), "layer3.2.relu#2", (64, 8, 8), "flatten"),
        (vgg11(10, image_size=64), a_picture(3, 64), "features.19", (512, 4, 4), "classifier.4"),
    ],
)
def test_where_maps_end_and_what_the_last_layer_reads(
    net: nn.Module, picture: Tensor, last: str, shape: tuple[int, ...], embedding: str
) -> None:
    layers = layers_of(net, picture)
    assert layers.last_spatial() == last
    assert layers.shape(last) == shape
    assert layers.last_features() == embedding


def test_the_layers_that_tell_most() -> None:
    assert layers_of(lenet5(), a_picture(1, 32)).telling() == ["conv1", "act2"]
    found = layers_of(resnet20(), a_picture(3, 32)).telling()
    assert found == ["conv1", "layer2.1.relu", "layer3.2.relu#2"]
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    assert layers_of(linear, a_picture(1, 8)).telling() == ["0"]


def test_the_names_are_those_of_the_summary() -> None:
    net, x = resnet20(), a_picture(3, 32)
    rows = summarize(net, (3, 32, 32)).rows
    layers = layers_of(net, x)
    assert [row.name for row in layers.rows] == [row.name for row in rows]
    maps = maps_of(net, x, [row.name for row in rows])
    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == {
        row.name: row.output for row in rows
    }


@pytest.mark.parametrize(
    ("net", "size"),
    [(googlenet(10, image_size=64), 64), (densenet_cifar(), 32)],
    ids=["googlenet", "densenet"],
)
def test_every_layer_of_branched_networks_is_read(net: nn.Module, size: int) -> None:
    x = a_picture(3, size)
    layers = layers_of(net, x)
    names = [row.name for row in layers.rows if row.operations]
    maps = maps_of(net, x, names)
    for name in names:
        assert tuple(maps[name].shape[1:]) == layers.shape(name), name


def test_what_is_read_is_what_the_layer_gave_before_it_was_overwritten() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            a = self.conv(x)
            b = self.relu(a)
            b -= 0.25
            return self.relu(b).flatten(1)

    net, x = Net(), a_picture(1, 6)
    a = net.conv(x).detach()
    b = a.relu()
    expected = {"conv": a, "relu": b, "sub": b - 0.25, "relu#2": (b - 0.25).relu()}
    maps = maps_of(net, x, list(expected))
    for name, values in expected.items():
        torch.testing.assert_close(maps[name], values)


def test_a_group_of_layers_is_a_layer() -> None:
    net, x = resnet20().eval(), a_picture(3, 32)
    maps = maps_of(net, x, ["layer2", "layer2.2.relu#2"])
    assert torch.equal(maps["layer2"], maps["layer2.2.relu#2"])


def test_a_network_whose_values_decide() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.other = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return (self.conv(x) if float(x.mean()) > 0 else self.other(x)).relu().mean((2, 3))

    layers = layers_of(Net(), a_picture(1, 6))
    assert [row.name for row in layers.rows][-3:] == ["conv", "relu", "mean#2"]
    assert layers.last_spatial() == "relu"
    with pytest.raises(ConfigError, match="does not call its layer 'conv' on these pictures"):
        # The layers are those of the first picture, the maps those of the batch's mean.
        maps_of(Net(), torch.cat((a_picture(1, 6), a_picture(1, 6) - 9)), ["conv"])


def test_what_there_is_not() -> None:
    net, x = lenet5(), a_picture(1, 32)
    with pytest.raises(ConfigError, match="no layer 'conv9'\nDid you mean conv"):
        maps_of(net, x, ["conv9"])
    with pytest.raises(ShapeError, match=r"fc1 .*expects 16·5·5 = 400 features"):
        layers_of(net, a_picture(1, 40))
    with pytest.raises(ConfigError, match="no layer before its last one"):
        layers_of(nn.Sequential(nn.Conv2d(1, 4, 3)), x).last_features()
