from collections.abc import Callable

import pytest
import torch
from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.lenet import C3_TABLE, class_codes, lenet5, lenet5_1998
from convolens.nn.radial_basis import RadialBasis
from convolens.nn.subsampling import Subsampling2d


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


# Section II.B of the paper: trainable parameters and connections.
PUBLISHED_1998 = {
    "c1": (156, 122_304),
    "s2": (12, 5_880),
    "c3": (1_516, 151_600),
    "s4": (32, 2_000),
    "c5": (48_120, 48_120),
    "f6": (10_164, 10_164),
}


def connections(net: nn.Module, side: int = 32) -> dict[str, int]:
    """Inputs of all units of each layer, the bias counting as one."""
    found, x = {}, torch.zeros(1, 1, side, side)
    for name, layer in net.named_children():
        x = layer(x)
        positions = x[0, 0].numel()
        if isinstance(layer, Subsampling2d):
            found[name] = (layer.kernel_size**2 + 1) * x.numel()
        elif isinstance(layer, RadialBasis):
            found[name] = layer.codes.numel()
        elif count(layer):
            found[name] = count(layer) * positions
    return found


def test_the_layers_of_1998_have_the_papers_parameters_and_connections() -> None:
    net = lenet5_1998()
    found = connections(net)
    assert {name: (count(net.get_submodule(name)), found[name]) for name in PUBLISHED_1998} == (
        PUBLISHED_1998
    )
    # "340,908 connections, but only 60,000 trainable free parameters"
    assert sum(found.values()) == 340_908
    assert count(net) == 60_000


def test_the_connection_table_is_table_i() -> None:
    columns = [[s2 in row for row in C3_TABLE] for s2 in range(6)]
    assert ["".join(".X"[x] for x in column) for column in columns] == [
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    ]


def test_codes_of_the_digits_are_7_by_12_pixels_and_differ() -> None:
    codes = torch.tensor(class_codes(10))
    assert codes.shape == (10, 7 * 12)
    assert codes.abs().eq(1).all()
    distance = (codes[:, None] != codes).sum(dim=2)
    assert distance.fill_diagonal_(84).min() >= 10
    one = codes[1].reshape(12, 7)
    assert one[1:11, 3].eq(1).all()  # the stroke of the 1
    assert class_codes(3) == class_codes(10)[:3]


def test_more_classes_take_random_signs_that_are_always_the_same() -> None:
    codes = torch.tensor(class_codes(200))
    assert torch.equal(codes, torch.tensor(class_codes(200)))
    assert len(codes.unique(dim=0)) == 200
    assert abs(codes.double().mean()) < 0.05


def test_the_class_of_1998_is_the_nearest_code() -> None:
    torch.manual_seed(0)
    net = lenet5_1998().eval()
    x = torch.randn(3, 1, 32, 32)
    f6 = net[:-1](x)
    codes = torch.tensor(class_codes(10), dtype=torch.float32)
    torch.testing.assert_close(net(x), -torch.cdist(f6, codes).square())


def test_initial_weights_of_1998_are_uniform_within_the_fan_in() -> None:
    torch.manual_seed(0)
    net = lenet5_1998()
    for layer, fan_in in ((net.c1, 25), (net.s2, 4), (net.c5, 400), (net.f6, 120)):
        largest = layer.weight.abs().max().item()
        assert 0.5 * 2.4 / fan_in < largest <= 2.4 / fan_in
    assert [fan_in for *_, fan_in in net.c3.rows()] == [75] * 6 + [100] * 9 + [150]
    for kernels, _, fan_in in net.c3.rows():
        assert 0.5 * 2.4 / fan_in < kernels.abs().max().item() <= 2.4 / fan_in


@pytest.mark.parametrize("builder", [lenet5, lenet5_1998])
def test_a_picture_too_small_is_explained(builder: Callable[..., nn.Module]) -> None:
    with pytest.raises(
        ShapeError, match=r"a picture of 15 px does not fit: .* reads 2 px"
    ) as caught:
        builder(image_size=15)
    assert caught.value.hint == "The smallest picture is 16 px."
    assert builder(image_size=16)(torch.randn(2, 1, 16, 16)).shape == (2, 10)
