"""Products of half precision: both kinds of convolution, where the processor has them."""

import ctypes
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convolens.nn.kernels.build import Half, half_precision
from convolens.nn.kernels.conv_half import conv_half, fits_conv_half
from convolens.nn.kernels.rewrite import apply_kernels
from convolens.nn.kernels.winograd import conv3x3

LAST = torch.channels_last
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Relative to the norm, in root mean square: rounding factors to bfloat16 makes it 2.4e-3.
DIRECT: Mapping[Half, float] = {"float16": 1.5e-3, "bfloat16": 4e-3}
WINOGRAD: Mapping[Half, float] = {"float16": 1e-2, "bfloat16": 4e-2}


def like_library(half: Half) -> Any:
    """As much of a library as the question needs whether a convolution fits it."""
    kinds: list[Half] = ["float16", "bfloat16"]
    return SimpleNamespace(convolens_half=lambda: kinds.index(half) + 1, convolens_lanes=lambda: 16)


def volume(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).contiguous(memory_format=LAST)


def results(
    kernel: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: tuple[int, int],
    scale: float = 1.0,
) -> list[tuple[Tensor, Tensor]]:
    """Result and gradients of the kernel, each beside PyTorch's in float64."""
    found = []
    for dtype in (torch.float32, torch.float64):
        inputs = [t.detach().to(dtype).requires_grad_() for t in (x, weight, bias) if t is not None]
        if dtype == torch.float32:
            out = kernel(inputs[0], inputs[1], inputs[2] if bias is not None else None)
        else:
            out = F.conv2d(*inputs, stride=stride, padding=padding)
        grad = scale * volume(*out.shape, seed=1).to(dtype)
        found.append([out.detach(), *torch.autograd.grad(out, inputs, grad)])
    return list(zip(*found, strict=True))


def distance(mine: Tensor, expected: Tensor) -> float:
    return float((mine.double() - expected).norm() / expected.norm().clamp(min=1e-300))


@QUICK
@given(
    N=st.integers(1, 9),
    channels=st.tuples(*[st.sampled_from([16, 32, 48, 64])] * 2),
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 4),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    last=st.booleans(),
    with_bias=st.booleans(),
)
def test_any_convolution_is_near_the_definition(
    half_library: ctypes.CDLL,
    N: int,
    channels: tuple[int, int],
    sides: tuple[int, int],
    window: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    last: bool,
    with_bias: bool,
) -> None:
    padding = (padding[0] % window[0], padding[1] % window[1])
    if any(s + 2 * p < k for s, p, k in zip(sides, padding, window, strict=True)):
        return
    x, weight = volume(N, channels[0], *sides), volume(channels[1], channels[0], *window, seed=2)
    weight = weight if last else weight.contiguous()
    bias = torch.ones(channels[1]) if with_bias else None

    def kernel(*inputs: Tensor) -> Tensor:
        return conv_half(*inputs, half_library, stride=stride, padding=padding)

    for mine, expected in results(kernel, x, weight, bias, stride=stride, padding=padding):
        assert distance(mine, expected) < DIRECT[half_precision(half_library)]


def test_places_that_meet_only_zeros_have_a_gradient_of_zero(half_library: ctypes.CDLL) -> None:
    x, weight = volume(1, 16, 1, 1), volume(32, 16, 1, 5, seed=2)

    def kernel(*inputs: Tensor) -> Tensor:
        return conv_half(*inputs, half_library, stride=2, padding=(0, 3))

    mine, expected = results(kernel, x, weight, None, stride=2, padding=(0, 3))[2]
    assert torch.equal(mine[..., ::2], torch.zeros(32, 16, 1, 3))
    assert distance(mine, expected) < DIRECT[half_precision(half_library)]


@QUICK
@given(
    N=st.integers(1, 9),
    channels=st.tuples(*[st.sampled_from([16, 32, 48, 80, 160])] * 2),
    sides=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    padding=st.integers(0, 2),
    last=st.booleans(),
)
def test_winograd_is_near_the_definition(
    half_library: ctypes.CDLL,
    N: int,
    channels: tuple[int, int],
    sides: tuple[int, int],
    padding: int,
    last: bool,
) -> None:
    x, weight = volume(N, channels[0], *sides), volume(channels[1], channels[0], 3, 3, seed=2)
    weight = weight if last else weight.contiguous()

    def kernel(*inputs: Tensor) -> Tensor:
        return conv3x3(*inputs, half_library, padding=padding, half=True)

    for mine, expected in results(kernel, x, weight, None, padding=(padding, padding)):
        assert distance(mine, expected) < WINOGRAD[half_precision(half_library)]


KERNELS = {
    "winograd": lambda library: lambda *a: conv3x3(*a, library, padding=1, half=True),
    "any": lambda library: lambda *a: conv_half(*a, library, padding=(1, 1)),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("batch", "side", "C", "K"), [(5, 7, 128, 96), (60, 11, 80, 208)])
@pytest.mark.parametrize("threads", [1, 2])
def test_large_volumes_on_threads(
    half_library: ctypes.CDLL, name: str, batch: int, side: int, C: int, K: int, threads: int
) -> None:
    x, weight = volume(batch, C, side, side + 1), volume(K, C, 3, 3, seed=2)
    torch.set_num_threads(threads)
    try:
        twice = [
            results(KERNELS[name](half_library), x, weight, None, padding=(1, 1)) for _ in range(2)
        ]
    finally:
        torch.set_num_threads(1)
    for (mine, expected), (again, _) in zip(*twice, strict=True):
        assert distance(mine, expected) < WINOGRAD[half_precision(half_library)]
        assert torch.equal(mine, again)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [1e-20, 1e-6, 1e4, 1e12])
def test_factors_of_any_size_keep_their_digits(
    half_library: ctypes.CDLL, name: str, size: float
) -> None:
    x, weight = size * volume(4, 64, 9, 9), volume(32, 64, 3, 3, seed=2) / size**0.5
    for mine, expected in results(
        KERNELS[name](half_library), x, weight, None, padding=(1, 1), scale=size**0.5
    ):
        assert distance(mine, expected) < WINOGRAD[half_precision(half_library)]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.999999, -0.5])
def test_no_sum_overflows(half_library: ctypes.CDLL, name: str, value: float) -> None:
    """All factors as large as the largest, with signs that make the transforms large.

    Equal summands err all to the same side, several times what random ones do.
    """
    for stripes in (torch.ones(6), torch.tensor([1.0, 1, -1, -1, 1, 1])):
        sign = stripes[:, None] * stripes[None, :]
        x = (value * sign.repeat(2, 2)).expand(9, 128, 12, 12).contiguous(memory_format=LAST)
        weight = torch.full((32, 128, 3, 3), value).contiguous(memory_format=LAST)
        for mine, expected in results(
            KERNELS[name](half_library), x, weight, None, padding=(1, 1), scale=1e-3
        ):
            assert mine.isfinite().all()
            assert distance(mine, expected) < 5 * WINOGRAD[half_precision(half_library)]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_shows(half_library: ctypes.CDLL, name: str, value: float) -> None:
    x, weight = volume(2, 64, 12, 12), volume(32, 64, 3, 3, seed=2)
    x[0, 3, 5, 5] = value
    out = KERNELS[name](half_library)(x, weight, None)
    assert not out[0, :, 5, 5].isfinite().any()
    assert out[1].isfinite().all()
    weight[1, 2, 0, 0] = value
    assert not KERNELS[name](half_library)(volume(2, 64, 12, 12), weight, None).isfinite().all()


@pytest.mark.parametrize(
    ("conv", "shape", "reason"),
    [
        ({"groups": 2}, (9, 64, 32, 32), "neither dilation nor groups"),
        ({"dilation": 2}, (9, 64, 32, 32), "neither dilation nor groups"),
        ({"stride": (1, 2)}, (9, 64, 32, 32), "the same stride in both directions"),
        ({"padding": "same"}, (9, 64, 32, 32), "must be a number of zeros"),
        ({"padding": 3}, (9, 64, 32, 32), "padding must be less than its window"),
        ({"in_channels": 68}, (9, 68, 32, 32), "the numbers of channels must be multiples of "),
        ({"in_channels": 32}, (9, 32, 32, 32), "at least 64 channels on both sides"),
        ({"kernel_size": 1}, (9, 64, 32, 32), "at least 80 products for each number"),
        ({"dtype": torch.float64}, (9, 64, 32, 32), "must be float32 on the CPU"),
        ({}, (9, 64, 2, 32), "at least one whole window"),
        ({}, (1, 64, 9, 9), "at least 64 windows"),
        ({}, (1, 48, 32, 32), "must have 64 channels"),
    ],
)
def test_says_why_it_does_not_fit(conv: dict, shape: tuple[int, ...], reason: str) -> None:
    layer = nn.Conv2d(**{"in_channels": 64, "out_channels": 64, "kernel_size": 3, **conv})
    said = fits_conv_half(layer, shape, like_library("float16"))
    assert said is not None
    assert reason in said
    assert fits_conv_half(nn.Conv2d(64, 64, 3), (1, 64, 32, 32), like_library("float16")) is None


def test_pytorchs_bfloat16_takes_any_channels_but_few_products_do_not_pay() -> None:
    library = like_library("bfloat16")
    assert fits_conv_half(nn.Conv2d(3, 68, 7, 2, 3), (2, 3, 32, 32), library) is None
    assert fits_conv_half(nn.Conv2d(64, 256, 1), (2, 64, 32, 32), library) is None
    said = fits_conv_half(nn.Conv2d(16, 32, 3, 2), (2, 16, 32, 32), library)
    assert said == "there must be at least 50 products for each number"
    said = fits_conv_half(nn.Conv2d(64, 64, 3, groups=64), (2, 64, 32, 32), library)
    assert said == "the convolution must have neither dilation nor groups"


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_alone(half_library: ctypes.CDLL, name: str) -> None:
    """The result is that of float32, and the gradients are those of half precision."""
    kernel = {"winograd": conv3x3, "any": conv_half}[name]
    padding: Any = {"winograd": 1, "any": (1, 1)}[name]
    x, weight, bias = volume(8, 64, 16, 16), volume(96, 64, 3, 3, seed=2), torch.ones(96)
    half = {"half": True} if name == "winograd" else {}

    def alone(*inputs: Tensor) -> Tensor:
        return kernel(*inputs, half_library, padding=padding, half_forward=False, **half)

    found = results(alone, x, weight, bias, padding=(1, 1))
    both = results(KERNELS[name](half_library), x, weight, bias, padding=(1, 1))
    assert distance(*found[0]) < 1e-5
    assert distance(*both[0]) > 1e-4
    for (mine, expected), (other, _) in zip(found[1:3], both[1:3], strict=True):
        assert 1e-4 < distance(mine, expected) < WINOGRAD[half_precision(half_library)]
        assert distance(mine, other.double()) < 1e-2


def test_a_network_takes_them_where_it_is_told_to(half_library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 128, 3, stride=2, padding=1)
    ).to(memory_format=LAST)  # type: ignore[call-overload]
    x = volume(8, 64, 16, 16)
    stock = net(x).detach().double()
    seen = []
    for half, forward in ((False, True), (True, False), (True, True)):
        rewrite = apply_kernels(net, half_library, half=half, half_forward=forward)
        seen.append(distance(net(x).detach(), stock))
        assert net(x).dtype == torch.float32
        rewrite.undo()
    assert seen[0] == seen[1] < 1e-5 < 1e-4 < seen[2] < WINOGRAD[half_precision(half_library)]
