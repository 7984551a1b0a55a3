"""Memory that a kernel claims holds whatever was there before."""

import ctypes
import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convolens.nn.kernels.batch_norm import batch_norm
from convolens.nn.kernels.conv_pool import conv_pool
from convolens.nn.kernels.max_pool import max_pool
from convolens.nn.kernels.winograd import conv3x3

# Of the control word of SSE and AVX, which glibc keeps in a fenv_t of 32 bytes: an operand was
# subnormal.
MXCSR, SUBNORMAL = 28, 2


def conv_pool_5x5(x: Tensor, library: ctypes.CDLL) -> Tensor:
    weight = torch.randn(30, x.shape[1], 5, 5, requires_grad=True)
    return conv_pool(x, weight, torch.randn(30, requires_grad=True), library, padding=1, relu=True)


def conv_pool_3x3(x: Tensor, library: ctypes.CDLL) -> Tensor:
    return conv_pool(x, torch.randn(7, x.shape[1], 3, 3, requires_grad=True), None, library)


def winograd(x: Tensor, library: ctypes.CDLL) -> Tensor:
    return conv3x3(x, torch.randn(32, x.shape[1], 3, 3, requires_grad=True), None, library)


def winograd_of_large_filters(x: Tensor, library: ctypes.CDLL) -> Tensor:
    return conv3x3(x, torch.randn(384, x.shape[1], 3, 3, requires_grad=True), None, library)


def pool(x: Tensor, library: ctypes.CDLL) -> Tensor:
    return max_pool(x, library, kernel_size=3, stride=2, padding=1, relu=True)


def norm(x: Tensor, library: ctypes.CDLL) -> Tensor:
    return batch_norm(x, nn.BatchNorm2d(x.shape[1]), library, activation="relu")


def meets_subnormals(run: Callable[[], object]) -> bool:
    """Whether an operation of this thread is given a subnormal number."""
    math, state = ctypes.CDLL(None), ctypes.create_string_buffer(32)
    math.fegetenv(state)
    state[MXCSR] = state.raw[MXCSR] & ~SUBNORMAL
    math.fesetenv(state)
    run()
    math.fegetenv(state)
    return bool(state.raw[MXCSR] & SUBNORMAL)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="reads a register of x86 through glibc",
)
@pytest.mark.parametrize(
    ("kernel", "channels"),
    [
        (conv_pool_5x5, 1),
        (conv_pool_5x5, 3),
        (conv_pool_5x5, 20),
        (conv_pool_3x3, 3),
        (conv_pool_3x3, 9),
        (winograd, 16),
        (winograd_of_large_filters, 32),
        (pool, 5),
        (norm, 5),
        (norm, 16),
    ],
)
def test_nothing_is_computed_with_what_was_there_before(
    library: ctypes.CDLL,
    kernel: Callable[[Tensor, ctypes.CDLL], Tensor],
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Subnormal numbers among it make a kernel several times slower."""
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "empty", _subnormal(torch.empty))
    x = torch.randn(3, channels, 15, 18).contiguous(memory_format=torch.channels_last)
    out = kernel(x.requires_grad_(), library)
    grad = torch.randn(out.shape).contiguous(memory_format=torch.channels_last)
    assert not meets_subnormals(lambda: kernel(x, library))
    assert not meets_subnormals(lambda: out.backward(grad))
    assert meets_subnormals(lambda: torch.empty(64) * 2)


def _subnormal(empty: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def filled(*args: Any, **kwargs: Any) -> Tensor:
        made = empty(*args, **kwargs)
        if made.dtype in (torch.float32, torch.float64):
            torch.as_strided(made, (made.numel(),), (1,)).fill_(1e-40)
        return made

    return filled
