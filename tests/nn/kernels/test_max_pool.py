import ctypes
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from convolens.nn.kernels.max_pool import fits_max_pool, max_pool, stock_max_pool

WINDOWS = [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 3, 1), (5, 2, 2)]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    N=st.integers(1, 3),
    C=st.sampled_from([1, 3, 4, 8, 15, 16, 17, 33, 64]),
    sides=st.tuples(st.integers(5, 11), st.integers(5, 11)),
    window=st.sampled_from(WINDOWS),
    relu=st.booleans(),
    nans=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_stock_operations(
    each_library: ctypes.CDLL,
    N: int,
    C: int,
    sides: tuple[int, int],
    window: tuple[int, int, int],
    relu: bool,
    nans: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 4, (N, C, *sides), generator=generator).float()  # full of ties
    if nans:
        x[torch.rand(x.shape, generator=generator) < 0.1] = math.nan
        x[torch.rand(x.shape, generator=generator) < 0.1] = -math.inf
    mine = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    stock = x.clone().requires_grad_()
    size, stride, padding = window
    options = {"kernel_size": size, "stride": stride, "padding": padding, "relu": relu}
    out, expected = max_pool(mine, each_library, **options), stock_max_pool(stock, **options)
    assert torch.equal(out.nan_to_num(7.5), expected.nan_to_num(7.5))
    grad = torch.randint(-8, 9, out.shape, generator=generator).float()
    (got,), (wanted,) = (
        torch.autograd.grad(out, mine, grad),
        torch.autograd.grad(expected, stock, grad),
    )
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("threads", [1, 2])
def test_more_threads_change_nothing(library: ctypes.CDLL, threads: int) -> None:
    x = torch.randn(5, 20, 13, 13).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.set_num_threads(threads)
    try:
        out = max_pool(x, library, kernel_size=3, stride=2, padding=1)
        (grad,) = torch.autograd.grad(out.square().sum(), x)
    finally:
        torch.set_num_threads(1)
    expected = stock_max_pool(x, kernel_size=3, stride=2, padding=1)
    assert torch.equal(out, expected)
    torch.testing.assert_close(grad, torch.autograd.grad(expected.square().sum(), x)[0])


@pytest.mark.parametrize(
    ("pool", "shape", "reason"),
    [
        ({"kernel_size": (2, 3)}, (1, 1, 8, 8), "the same along both axes"),
        ({"kernel_size": 2, "dilation": 2}, (1, 1, 8, 8), "neither dilation nor ceil_mode"),
        ({"kernel_size": 2, "ceil_mode": True}, (1, 1, 8, 8), "neither dilation nor ceil_mode"),
        ({"kernel_size": 16}, (1, 1, 32, 32), "at most 15 px wide"),
        ({"kernel_size": 2}, (0, 1, 8, 8), "at least one picture and one whole window"),
        ({"kernel_size": 3}, (1, 1, 2, 8), "at least one picture and one whole window"),
    ],
)
def test_says_why_it_does_not_fit(pool: dict, shape: tuple[int, ...], reason: str) -> None:
    said = fits_max_pool(nn.MaxPool2d(**pool), shape)
    assert said is not None
    assert reason in said
    assert fits_max_pool(nn.MaxPool2d(3, 2, 1), (1, 8, 2, 2)) is None
