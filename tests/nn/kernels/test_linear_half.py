"""Fully connected layers in bfloat16: where they are, and what they give."""

import ctypes

import pytest
import torch
from torch import nn

from convolens.nn.kernels import apply_kernels, half_precision
from convolens.nn.kernels.linear_half import LEAST_ROWS, LinearHalf


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 80)


def rows(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 96, generator=generator).to(dtype).requires_grad_()


def test_results_and_gradients_are_float32_and_near_those_of_float64(layer: nn.Linear) -> None:
    found = []
    for compute, dtype in ((LinearHalf(layer), torch.float32), (layer.double(), torch.float64)):
        layer.to(dtype)
        x = rows(LEAST_ROWS, dtype)
        out = compute(x)
        grads = torch.autograd.grad(out.square().sum(), (x, layer.weight, layer.bias))
        assert {t.dtype for t in (out, *grads)} == {dtype}
        found.append((out.detach(), *grads))
    for mine, exact in zip(*found, strict=True):
        assert 1e-4 < float((mine - exact).norm() / exact.norm()) < 1e-2


@pytest.mark.parametrize(
    "x", [rows(LEAST_ROWS - 1), rows(LEAST_ROWS, torch.float64)], ids=["few rows", "float64"]
)
def test_other_inputs_are_multiplied_as_always(layer: nn.Linear, x: torch.Tensor) -> None:
    layer.to(x.dtype)
    assert torch.equal(LinearHalf(layer)(x), layer(x))


def test_a_network_takes_it_where_the_processor_multiplies_bfloat16(library: ctypes.CDLL) -> None:
    net = nn.Sequential(nn.Linear(96, 80), nn.ReLU(), nn.Linear(80, 10))
    x = rows(LEAST_ROWS)
    stock = net(x)
    for half in (False, True):
        rewrite = apply_kernels(net, library, half=half)
        taken = half and half_precision(library) == "bfloat16"
        assert rewrite.chains == (("0",) if taken else ())
        assert torch.equal(net(x), stock) is not taken
        rewrite.undo()
    assert torch.equal(net(x), stock)
