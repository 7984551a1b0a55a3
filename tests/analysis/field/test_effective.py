"""The effective receptive field against gradients that are known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from convolens.analysis.field import effective_field, fields_of
from convolens.analysis.summarize import summarize
from convolens.errors import ConfigError, ShapeError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def test_of_one_convolution_it_is_the_weights() -> None:
    net = nn.Conv2d(2, 3, 3, padding=1)
    found = effective_field(nn.Sequential(net), "0", (1, 4, 5), torch.rand(4, 2, 9, 9))
    expected = np.zeros((9, 9), dtype=np.float32)
    # The mean over four pictures: each unit's gradient is the same, and pictures do not mix.
    expected[3:6, 4:7] = net.weight[1].abs().mean(0).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_of_all_channels_it_is_of_their_sum() -> None:
    net = nn.Conv2d(2, 3, 3, padding=1)
    found = effective_field(nn.Sequential(net), "0", (4, 5), torch.rand(1, 2, 9, 9))
    expected = net.weight.sum(0).abs().mean(0).detach().numpy()
    np.testing.assert_allclose(found[3:6, 4:7], expected, rtol=1e-5)


def test_it_lies_within_the_exact_field_and_concentrates_in_its_middle() -> None:
    layers = [nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(8)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1 / 36)
    net = nn.Sequential(nn.Conv2d(1, 4, 1), *layers)
    found = effective_field(net, "8", (0, 20, 20), torch.rand(1, 1, 41, 41))
    trace = summarize(net, (1, 41, 41)).trace
    field = fields_of(trace).unit(trace.outputs[0], 20, 20)
    assert field is not None
    assert field.rows == (12, 28)
    outside = found.copy()
    outside[12:29, 12:29] = 0
    assert not outside.any()
    # The sum of eight uniform steps over −1, 0 and 1 has the variance 8·2/3 (section 2.2).
    shares = found.sum(1) / found.sum()
    assert (shares * (np.arange(41) - 20) ** 2).sum() == pytest.approx(16 / 3, rel=1e-4)


def test_it_leaves_the_network_as_it_was() -> None:
    net = network().train()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        effective_field(net, "5", (2, 2), torch.rand(2, 3, 8, 8))
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(not m._forward_hooks for m in net.modules())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_rectifier_that_writes_over_the_layer_does_not_change_its_unit() -> None:
    net = network()
    found = effective_field(net, "0", (0, 3, 3), torch.rand(1, 3, 8, 8))
    np.testing.assert_allclose(
        found[2:5, 2:5], net[0].weight[0].abs().mean(0).detach().numpy(), rtol=1e-5
    )


def test_words_and_places_that_are_wrong() -> None:
    net = network()
    x = torch.rand(1, 3, 8, 8)
    with pytest.raises(ConfigError, match="the network has no layer '7'"):
        effective_field(net, "7", (0, 0), x)
    with pytest.raises(ShapeError, match=r"4 gives \(4, 4, 4\) and has no unit \(0, 4, 0\)"):
        effective_field(net, "4", (0, 4, 0), x)

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(ConfigError, match="the network does not call its layer 'spare'"):
        effective_field(Unused(), "spare", (0, 0), x)
