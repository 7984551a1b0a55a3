"""The contract that every network of the registry keeps."""

import inspect

import pytest
import torch
from torch import nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.entry import ModelEntry
from convolens.models.registry import COMMON, MODELS, check_options, find_model, table

NAMES = sorted(MODELS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_classes", [2, 17])
def test_builds_for_other_classes_channels_and_sizes(name: str, num_classes: int) -> None:
    channels, height, _ = MODELS[name].input_size
    for in_channels, size in ((1, height), (3, height), (channels, height + 9)):
        net = MODELS[name].builder(
            num_classes=num_classes, in_channels=in_channels, image_size=size
        )
        assert net(torch.randn(2, in_channels, size, size)).shape == (2, num_classes)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    net = MODELS[name].builder()
    net(torch.randn(4, *MODELS[name].input_size)[:, : _in_channels(net)]).square().sum().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def _in_channels(net: nn.Module) -> int:
    return next(m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_weights(name: str) -> None:
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(MODELS[name].builder())
    first, same, other = ([*net.parameters()] for net in nets)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_that_is_too_small_is_named(name: str) -> None:
    with pytest.raises(ShapeError, match="does not fit"):
        MODELS[name].builder(image_size=3)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_off_by_default_and_can_be_had(name: str) -> None:
    assert inspect.signature(MODELS[name].builder).parameters["dropout"].default == 0
    net = MODELS[name].builder(dropout=0.5)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5]


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_names_a_source_and_the_shape(name: str) -> None:
    text = inspect.getdoc(MODELS[name].builder) or ""
    assert "Source:" in text
    assert "Shape:" in text
    assert set(COMMON) <= inspect.signature(MODELS[name].builder).parameters.keys()


def test_a_name_that_occurs_twice_is_an_error() -> None:
    entry = ModelEntry(builder=MODELS["lenet5"].builder, input_size=(1, 32, 32), description="x")
    with pytest.raises(ValueError, match="two networks are called lenet5"):
        table([entry, entry])


def test_unknown_names_and_options() -> None:
    with pytest.raises(ConfigError) as caught:
        find_model("lenet")
    assert caught.value.hint == "Did you mean lenet5 or resnet9?"
    with pytest.raises(ConfigError, match="lenet5 has no option 'dropuot'") as caught:
        check_options(MODELS["lenet5"].builder, {"dropuot": 0.5}, "lenet5")
    assert caught.value.hint == "Did you mean dropout?"
