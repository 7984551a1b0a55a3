"""Fully connected layers in bfloat16: what they give, and where they are taken."""

import copy
import ctypes

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convolens.nn.kernels import apply_kernels, half_precision
from convolens.nn.kernels.linear_half import LEAST_ROWS, linear_half


@pytest.fixture
def bfloat16_library(half_library: ctypes.CDLL) -> ctypes.CDLL:
    if half_precision(half_library) != "bfloat16":
        pytest.skip("fully connected layers have no products of float16")
    return half_library


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance(mine: Tensor, expected: Tensor) -> float:
    return float((mine.detach().double() - expected.detach()).norm() / expected.detach().norm())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.sampled_from([(1,), (3,), (16,), (31,), (40,), (130,), (3, 7)]),
    inputs=st.sampled_from([16, 48, 80, 528, 1040, 2064]),
    outputs=st.sampled_from([1, 7, 32, 33, 65, 140]),
    with_bias=st.booleans(),
    learns=st.tuples(st.booleans(), st.booleans()).filter(any),
)
def test_any_shape_is_near_the_definition(
    bfloat16_library: ctypes.CDLL,
    before: tuple[int, ...],
    inputs: int,
    outputs: int,
    with_bias: bool,
    learns: tuple[bool, bool],
) -> None:
    x, weight = numbers(*before, inputs), numbers(outputs, inputs, seed=1)
    bias = numbers(outputs, seed=2) if with_bias else None
    grad = numbers(*before, outputs, seed=3)
    found = []
    for dtype in (torch.float32, torch.float64):
        factors = [t.detach().to(dtype) for t in (x, weight)]
        for factor, learn in zip(factors, learns, strict=True):
            factor.requires_grad_(learn)
        b = None if bias is None else bias.detach().to(dtype).requires_grad_()
        if dtype == torch.float32:
            out = linear_half(*factors, b, bfloat16_library)
        else:
            out = F.linear(*factors, b)
        wanted = [t for t in (*factors, b) if t is not None and t.requires_grad]
        found.append([out, *torch.autograd.grad(out, wanted, grad.to(dtype))])
    for mine, expected in zip(*found, strict=True):
        assert mine.dtype == torch.float32
        # Of a single product or few, the errors of their factors add up.
        assert distance(mine, expected) < (4e-3 if expected.numel() > 1000 else 3e-2)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_layer_on_threads(bfloat16_library: ctypes.CDLL, threads: int) -> None:
    x, weight = numbers(70, 3072).requires_grad_(), numbers(520, 3072, seed=1).requires_grad_()
    grad = numbers(70, 520, seed=2)
    torch.set_num_threads(threads)
    try:
        twice = [
            torch.autograd.grad(linear_half(x, weight, None, bfloat16_library), (x, weight), grad)
            for _ in range(2)
        ]
    finally:
        torch.set_num_threads(1)
    exact = (grad.double() @ weight.double(), grad.double().t() @ x.double())
    for mine, again, expected in zip(*twice, exact, strict=True):
        assert distance(mine, expected) < 4e-3
        assert torch.equal(mine, again)


def test_gradients_alone(bfloat16_library: ctypes.CDLL) -> None:
    x, weight = numbers(40, 160), numbers(96, 160, seed=1)
    found = []
    for half_forward in (True, False):
        factors = [t.detach().requires_grad_() for t in (x, weight)]
        out = linear_half(*factors, None, bfloat16_library, half_forward=half_forward)
        found.append([out, *torch.autograd.grad(out, factors, torch.ones_like(out))])
    assert torch.equal(found[1][0], F.linear(x, weight))
    assert not torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert torch.equal(found[0][2], found[1][2])


def test_a_network_takes_it_where_the_processor_multiplies_bfloat16(library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(160, 128), nn.ReLU(), nn.Linear(128, 10))
    x = numbers(LEAST_ROWS, 160)
    stock = net(x)
    for half in (False, True):
        rewrite = apply_kernels(net, library, half=half)
        taken = half and half_precision(library) == "bfloat16"
        assert torch.equal(net(x), stock) is not taken
        assert distance(net(x), stock.double()) < 1e-2
        rewrite.undo()
    assert torch.equal(net(x), stock)


@pytest.mark.parametrize("kind", ["few rows", "float64", "autocast"])
def test_other_inputs_are_multiplied_as_always(bfloat16_library: ctypes.CDLL, kind: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(160, 128))
    x = numbers(LEAST_ROWS - 1 if kind == "few rows" else LEAST_ROWS, 160)
    if kind == "float64":
        net, x = net.double(), x.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        stock = net(x)
        apply_kernels(net, bfloat16_library, half=True)
        assert torch.equal(net(x), stock)


def test_a_copy_has_weights_of_its_own(bfloat16_library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(160, 128))
    apply_kernels(net, bfloat16_library, half=True)
    x = numbers(LEAST_ROWS, 160)
    before = net(x)
    copied = copy.deepcopy(net)
    assert torch.equal(copied(x), before)
    with torch.no_grad():
        copied[0].weight.zero_()
    assert torch.equal(copied(x), net[0].bias.expand(LEAST_ROWS, -1))
    assert torch.equal(net(x), before)


def test_what_is_not_finite_shows(bfloat16_library: ctypes.CDLL) -> None:
    x, weight = numbers(20, 64), numbers(40, 64, seed=1)
    x[3, 5] = torch.nan
    finite = linear_half(x, weight, None, bfloat16_library).isfinite().all(1)
    assert finite.tolist() == [n != 3 for n in range(20)]
