from collections import OrderedDict

import pytest
import torch
from torch import nn

from convolens.nn.initial import drawn_once, gaussian_weights, he_conv, he_weights


def stack() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(32, 256, 3),
            norm=nn.BatchNorm2d(256),
            relu=nn.ReLU(),
            head=nn.Linear(256, 400),
        )
    )


def deviation(weight: torch.Tensor) -> float:
    """From 0, which the mean is to be."""
    return float(weight.detach().square().mean().sqrt())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("fan", "number"), [("fan_in", 32 * 9), ("fan_out", 256 * 9)])
def test_he_weights_have_the_variance_of_the_equation(fan: str, number: int) -> None:
    net = drawn_once(stack, he_weights(fan=fan, linear_std=0.01))
    assert deviation(net.conv.weight) == pytest.approx((2 / number) ** 0.5, rel=0.02)
    assert deviation(net.head.weight) == pytest.approx(0.01, rel=0.02)
    assert not net.conv.bias.any()
    assert not net.head.bias.any()


def test_layers_without_a_rule_begin_as_pytorchs() -> None:
    net = drawn_once(stack, he_weights())
    bound = 256**-0.5  # U(−1/√fan-in, 1/√fan-in)
    assert float(net.head.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)
    assert deviation(net.head.weight) == pytest.approx(bound / 3**0.5, rel=0.02)
    x = torch.randn(2, 256, 3, 3)
    fresh = nn.BatchNorm2d(256)
    assert net.norm.state_dict().keys() == fresh.state_dict().keys()
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(net.norm.state_dict()[name], tensor)
    assert torch.equal(net.norm(x), fresh(x))


def test_gaussian_weights_by_layer() -> None:
    def build() -> nn.Sequential:
        net = stack()
        del net.norm
        return net

    net = drawn_once(build, gaussian_weights(0.05, stds={"head": 0.2}, ones=("conv",)))
    assert deviation(net.conv.weight) == pytest.approx(0.05, rel=0.02)
    assert deviation(net.head.weight) == pytest.approx(0.2, rel=0.02)
    assert bool((net.conv.bias == 1).all())
    assert not net.head.bias.any()
    he = drawn_once(build, gaussian_weights(None, stds={"head": 0.2}, ones=("conv",)))
    assert deviation(he.conv.weight) == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.02)
    assert deviation(he.head.weight) == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert not he.conv.bias.any()


@pytest.mark.parametrize("fill", [he_weights(), gaussian_weights(0.01)])
def test_a_layer_that_no_rule_fills_is_named(fill) -> None:
    with pytest.raises(TypeError, match="how 0, a PReLU, begins is not known"):
        drawn_once(lambda: nn.Sequential(nn.PReLU()), fill)


def test_on_the_meta_device_there_are_no_values() -> None:
    with torch.device("meta"):
        net = drawn_once(stack, he_weights())
        assert he_conv(3, 8, 3).weight.is_meta
    assert all(tensor.is_meta for tensor in net.state_dict().values())
    assert not he_conv(3, 8, 3).weight.is_meta


@pytest.mark.parametrize(("axes", "kind"), [(1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d)])
def test_he_conv_is_a_convolution_like_any_other(axes: int, kind: type[nn.Module]) -> None:
    ours = he_conv(3, 64, 5, stride=2, padding=2, num_dimensions=axes)
    torchs = kind(3, 64, 5, stride=2, padding=2)
    assert type(ours) is kind
    assert repr(ours) == repr(torchs)
    assert deviation(ours.weight) == pytest.approx((2 / (3 * 5**axes)) ** 0.5, rel=0.08)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, *[7] * axes)
    assert torch.equal(ours(x), torchs(x))
    assert he_conv(3, 4, 1, bias=False).bias is None
