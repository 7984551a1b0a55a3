import ctypes
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convolens.nn.kernels.conv_pool import (
    MAX_FILTER_BYTES,
    conv_pool,
    fits_conv_pool,
    stock_conv_pool,
)

LAYOUTS = {True: torch.channels_last, False: torch.contiguous_format}


def quarters(*shape: int, generator: torch.Generator) -> Tensor:
    """Multiples of a quarter: sums of their products are exact, ties and all."""
    return torch.randint(-8, 9, shape, generator=generator) / 4


def both(
    library: ctypes.CDLL,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    layout: bool,
    first: bool = False,
    **options,
) -> tuple[list[Tensor], list[Tensor]]:
    """Result and gradients of the kernel, and of PyTorch in float64; of a network's first layer
    the input has none."""
    given_ = [x, weight] + ([] if bias is None else [bias])
    results = []
    for dtype in (torch.float32, torch.float64):
        inputs = [t.detach().to(dtype).requires_grad_() for t in given_]
        inputs[0].requires_grad_(not first)
        b = inputs[2] if bias is not None else None
        if dtype == torch.float32:
            out = conv_pool(inputs[0], inputs[1], b, library, channels_last=layout, **options)
        else:
            out = stock_conv_pool(inputs[0], inputs[1], b, **options)
        generator = torch.Generator().manual_seed(1)
        grad = torch.randint(-8, 9, out.shape, generator=generator).to(dtype) / 4
        learns = [t for t in inputs if t.requires_grad]
        results.append([out.detach(), *torch.autograd.grad(out, learns, grad)])
    return results[0], results[1]


shapes = st.fixed_dictionaries(
    {
        "N": st.integers(1, 10),
        "C": st.sampled_from([1, 2, 3, 4, 5, 16, 20]),
        "K": st.sampled_from([1, 2, 7, 8, 15, 16, 17, 30, 32, 33, 48, 50, 64, 66, 80]),
        "kernel": st.tuples(st.integers(1, 5), st.integers(1, 5)),
        "pooled": st.tuples(st.integers(1, 5), st.integers(1, 5)),
        "odd": st.tuples(st.integers(0, 1), st.integers(0, 1)),
        "padding": st.integers(0, 2),
        "bias": st.booleans(),
        "relu": st.booleans(),
        "first": st.booleans(),
        "x_last": st.booleans(),
        "w_last": st.booleans(),
        "out_last": st.booleans(),
        "seed": st.integers(0, 99),
    }
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(s=shapes)
def test_equals_stock_operations_exactly_where_the_arithmetic_is_exact(
    each_library: ctypes.CDLL, s: dict
) -> None:
    generator = torch.Generator().manual_seed(s["seed"])
    sides = [
        max(1, 2 * p + odd + k - 1 - 2 * s["padding"])
        for p, odd, k in zip(s["pooled"], s["odd"], s["kernel"], strict=True)
    ]
    x = quarters(s["N"], s["C"], *sides, generator=generator)
    weight = quarters(s["K"], s["C"], *s["kernel"], generator=generator)
    bias = quarters(s["K"], generator=generator) if s["bias"] else None
    x = x.contiguous(memory_format=LAYOUTS[s["x_last"]])
    weight = weight.contiguous(memory_format=LAYOUTS[s["w_last"]])
    words = {name: s[name] for name in ("first", "padding", "relu")}
    mine, stock = both(each_library, x, weight, bias, s["out_last"], **words)
    for a, b in zip(mine, stock, strict=True):
        assert torch.equal(a.double(), b)
    assert mine[0].is_contiguous(memory_format=LAYOUTS[s["out_last"]])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("C", "K", "side", "kernel"), [(1, 30, 28, 5), (3, 32, 16, 3), (1, 20, 14, 3), (20, 50, 12, 5)]
)
def test_is_as_accurate_as_float32_allows(
    each_library: ctypes.CDLL, C: int, K: int, side: int, kernel: int, first: bool
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, C, side, side), torch.randn(K, C, kernel, kernel)
    mine, stock = both(each_library, x, weight, torch.randn(K), True, first, relu=True)
    for a, b in zip(mine, stock, strict=True):
        assert (a - b).abs().max() < 2e-6 * b.abs().max()


def test_relu_and_pooling_may_change_places() -> None:
    # Few values, so that many windows hold ties and many hold nothing above zero.
    x = torch.randint(-2, 3, (64, 4, 6, 6)).float().requires_grad_()
    pool, relu = nn.MaxPool2d(2), nn.ReLU()
    first, second = pool(relu(x)), relu(pool(x))
    grad = torch.randn_like(first)
    assert torch.equal(first, second)
    assert torch.equal(
        torch.autograd.grad(first, x, grad)[0], torch.autograd.grad(second, x, grad)[0]
    )


def test_of_equal_values_the_first_gets_the_gradient(library: ctypes.CDLL) -> None:
    x = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    conv_pool(x, torch.ones(1, 1, 1, 1), None, library).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("place", range(4))
def test_nan_wins_its_window(library: ctypes.CDLL, place: int, relu: bool) -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, place // 2, place % 2] = math.nan
    out = conv_pool(x, torch.ones(1, 1, 1, 1), None, library, relu=relu)
    expected = stock_conv_pool(x, torch.ones(1, 1, 1, 1), None, relu=relu)
    assert torch.equal(out.isnan(), expected.isnan())
    assert out.isnan().sum() == 1


def test_infinities_are_kept(library: ctypes.CDLL) -> None:
    x = torch.full((1, 1, 2, 2), -math.inf, requires_grad=True)
    out = conv_pool(x, torch.ones(1, 1, 1, 1), None, library)
    assert out.item() == -math.inf
    out.backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1.0, 0.0, 0.0, 0.0]


def test_is_the_same_each_time_and_for_any_number_of_threads(library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(37, 3, 15, 14), torch.randn(20, 3, 3, 3), torch.randn(20)
    runs = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        try:
            runs.append(both(library, x, weight, bias, True, padding=1, relu=True)[0])
        finally:
            torch.set_num_threads(1)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_without_gradients_nothing_is_kept(library: ctypes.CDLL) -> None:
    x, weight = torch.randn(2, 1, 8, 8), nn.Parameter(torch.randn(4, 1, 3, 3))
    learning = conv_pool(x, weight, None, library)
    with torch.no_grad():
        assert torch.equal(conv_pool(x, weight, None, library), learning)
    with torch.inference_mode():
        assert torch.equal(conv_pool(x, weight, None, library), learning)
    assert learning.requires_grad


@pytest.mark.parametrize(
    ("conv", "pool", "shape", "reason"),
    [
        ({"stride": 2}, {}, (1, 1, 8, 8), "stride, dilation and groups of the convolution"),
        ({"dilation": 2}, {}, (1, 1, 8, 8), "stride, dilation and groups of the convolution"),
        ({"padding": "same"}, {}, (1, 1, 8, 8), "must be a number of zeros"),
        ({"padding": (1, 0)}, {}, (1, 1, 8, 8), "the same on all sides"),
        ({"padding_mode": "reflect"}, {}, (1, 1, 8, 8), "must be a number of zeros"),
        ({}, {"kernel_size": 3}, (1, 1, 8, 8), "windows must be 2×2 with stride 2"),
        ({}, {"padding": 1}, (1, 1, 8, 8), "no padding and no dilation"),
        ({}, {"ceil_mode": True}, (1, 1, 8, 8), "neither ceil_mode nor return_indices"),
        ({"dtype": torch.float64}, {}, (1, 1, 8, 8), "must be float32 on the CPU"),
        ({}, {}, (0, 1, 8, 8), "at least one picture and one whole pooling window"),
        ({}, {}, (1, 1, 3, 8), "at least one picture and one whole pooling window"),
        ({}, {}, (1, 1, 2, 8), "at least one picture and one whole pooling window"),
        (
            {"out_channels": MAX_FILTER_BYTES // 36 + 1},
            {},
            (1, 1, 8, 8),
            "the filters take more than 1024 KiB",
        ),
    ],
)
def test_says_why_it_does_not_fit(
    conv: dict, pool: dict, shape: tuple[int, ...], reason: str
) -> None:
    layer = nn.Conv2d(**{"in_channels": 1, "out_channels": 4, "kernel_size": 3, **conv})
    said = fits_conv_pool(layer, nn.MaxPool2d(**{"kernel_size": 2, **pool}), shape)
    assert said is not None
    assert reason in said


def test_fits_what_it_is_made_for() -> None:
    assert fits_conv_pool(nn.Conv2d(1, 30, 5), nn.MaxPool2d(2), (128, 1, 28, 28)) is None
    assert fits_conv_pool(nn.Conv2d(3, 64, 3, padding=1), nn.MaxPool2d(2), (1, 3, 9, 2)) is None
