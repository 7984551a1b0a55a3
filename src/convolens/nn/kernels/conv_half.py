"""Convolutions of any window and stride whose products are taken in float16."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.nn.kernels.memory import largest, pair, pointer

# With fewer windows or channels, or fewer products for each number that is read or written, writing
# windows out costs more than it saves: measured.
LEAST_WINDOWS = 64
LEAST_CHANNELS = 64
LEAST_PRODUCTS = 80
MOST_NUMBERS = 65536  # of a window, which lies on the stack

_VOLUME = ("N", "H", "W", "C")
_WINDOWS = ("GH", "GW", "step", "y0", "x0", "rows", "columns")
_OTHER = ("HO", "WO", "K", "out_step", "out_y", "out_x")
_POINTERS = ("x", "weight", "bias", "out", "grad_out", "grad_weight", "memory")


class _Job(ctypes.Structure):
    """`struct conv_half` of conv_half.h, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in (*_VOLUME, *_WINDOWS, *_OTHER)),
        ("weight_strides", ctypes.c_int64 * 4),
        ("num_threads", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("largest_weight", ctypes.c_float),
    ]


def conv_half(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    *,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> Tensor:
    """Computes conv2d(x, weight, bias, stride, padding) by products of float16.

    Both factors are scaled by powers of two such that no sum overflows; up to 64 products are
    added in float16, these sums in float32: results differ by about 0.1 %, less than those of
    bfloat16 factors.

    Args:
        weight: filters (K, C, R, S).
        bias: (K,), or None.
        library: what `load_library` returned; `has_half` must be true of it.
        padding: zeros above and below, left and right.
    Shape: x (N, C, H, W) -> (N, K, ⌊(H + 2P − R) / stride⌋ + 1, …); float32 on the CPU,
        channels-last, as `fits_conv_half` demands.
    """
    inputs = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        result: Tensor = _ConvHalf.apply(x, weight, bias, library, stride, padding)
        return result
    return _convolve(x, weight, bias, largest(weight), library, stride, padding)


def fits_conv_half(conv: nn.Conv2d, x_shape: tuple[int, ...], library: ctypes.CDLL) -> str | None:
    """Says why a convolution cannot be `conv_half` with a gain; None if it can.

    Args:
        x_shape: of its input, (N, C, H, W).
    """
    if x_shape[1] != conv.in_channels:
        return f"the volume must have {conv.in_channels} channels"
    if pair(conv.dilation) != (1, 1) or conv.groups != 1:
        return "the convolution must have neither dilation nor groups"
    if conv.stride[0] != conv.stride[1]:
        return "the convolution must have the same stride in both directions"
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return "the convolution's padding must be a number of zeros"
    if any(p >= k for p, k in zip(conv.padding, conv.kernel_size, strict=True)):
        return "the convolution's padding must be less than its window"
    if conv.weight.dtype != torch.float32 or conv.weight.device.type != "cpu":
        return "the weights must be float32 on the CPU"
    lanes = library.convolens_lanes()
    if conv.in_channels % lanes or conv.out_channels % lanes:
        return f"the numbers of channels must be multiples of {lanes}"
    if min(conv.in_channels, conv.out_channels) < LEAST_CHANNELS:
        return f"there must be at least {LEAST_CHANNELS} channels on both sides"
    rows, columns = (min(conv.stride[0], side) for side in pair(conv.kernel_size))
    numbers = rows * columns * conv.in_channels + conv.out_channels  # of an output's own inputs
    if conv.weight.numel() < LEAST_PRODUCTS * numbers:
        return f"there must be at least {LEAST_PRODUCTS} products for each number"
    if conv.weight[0].numel() > MOST_NUMBERS:
        return f"a window must have at most {MOST_NUMBERS} numbers"
    sides = _sides(x_shape[2:], conv.weight.shape[2:], conv.stride[0], pair(conv.padding))
    if min(sides) < 1:
        return "there must be at least one whole window"
    if x_shape[0] * sides[0] * sides[1] < LEAST_WINDOWS:
        return f"there must be at least {LEAST_WINDOWS} windows"
    return None


class _ConvHalf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        library: ctypes.CDLL,
        stride: int,
        padding: tuple[int, int],
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.rest, ctx.largest = (library, stride, padding), largest(weight)
        return _convolve(x, weight, bias, ctx.largest, *ctx.rest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _grad_x(x, weight, grad_out, ctx.largest, *ctx.rest)
        if ctx.needs_input_grad[1]:
            grad_weight = _grad_weight(x, weight, grad_out, *ctx.rest)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_out.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None, None


def _sides(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: tuple[int, ...]
) -> list[int]:
    return [
        (side + 2 * p - k) // stride + 1 for side, k, p in zip(size, kernel, padding, strict=True)
    ]


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    largest_weight: float,
    library: ctypes.CDLL,
    stride: int,
    padding: tuple[int, int],
) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    job = _forward_job(x, weight, stride, padding)
    out = torch.empty(job.N, job.K, job.HO, job.WO, memory_format=torch.channels_last)
    job.largest_weight = largest_weight
    job.bias, job.out = pointer(bias), pointer(out)
    _run(library, "forward", job)
    return out


def _grad_weight(
    x: Tensor,
    weight: Tensor,
    grad_out: Tensor,
    library: ctypes.CDLL,
    stride: int,
    padding: tuple[int, int],
) -> Tensor:
    grad_weight = torch.empty_like(weight)
    job = _forward_job(x, weight, stride, padding)
    job.grad_out, job.grad_weight = pointer(grad_out), pointer(grad_weight)
    _run(library, "backward", job)
    return grad_weight


def _grad_x(
    x: Tensor,
    weight: Tensor,
    grad_out: Tensor,
    largest_weight: float,
    library: ctypes.CDLL,
    stride: int,
    padding: tuple[int, int],
) -> Tensor:
    grad_x = torch.empty_like(x)
    down = list(_phases(x.shape[2], weight.shape[2], stride, padding[0]))
    across = list(_phases(x.shape[3], weight.shape[3], stride, padding[1]))
    if any(phase.places == 0 for phase in (*down, *across)):
        grad_x.zero_()
    job = _Job(grad_out.shape[0], *grad_out.shape[2:], grad_out.shape[1])
    job.step, job.out_step, job.num_threads = 1, stride, torch.get_num_threads()
    job.HO, job.WO, job.K = x.shape[2], x.shape[3], x.shape[1]
    job.x, job.out, job.largest_weight = pointer(grad_out), pointer(grad_x), largest_weight
    filters, strides = weight.data_ptr(), weight.stride()
    for row in down:
        for column in across:
            if not (row.places and column.places and row.inputs and column.inputs):
                continue
            job.GH, job.rows, job.y0, job.out_y = row.inputs, row.places, row.first, row.rest
            job.GW, job.columns = column.inputs, column.places
            job.x0, job.out_x = column.first, column.rest
            # Windows grow from the last place of the filter to its first.
            last = row.last * strides[2] + column.last * strides[3]
            job.weight = filters + last * weight.element_size()
            job.weight_strides[:] = (
                *(strides[1], strides[0], -stride * strides[2], -stride * strides[3]),
            )
            _run(library, "forward", job)
    return grad_x


@dataclass(frozen=True, kw_only=True)
class _Phase:
    """Inputs along one axis whose position leaves the same rest when divided by the stride.

    Args:
        inputs: how many there are.
        places: of the filter that meet them.
        last: the last of these.
        first: the output that the first of them met there, counted from the first window.
    """

    rest: int
    inputs: int
    places: int
    last: int
    first: int


def _phases(side: int, kernel: int, stride: int, padding: int) -> Iterator[_Phase]:
    for rest in range(stride):
        lowest = (rest + padding) % stride
        places = max(0, -(-(kernel - lowest) // stride))
        last = lowest + (places - 1) * stride
        yield _Phase(
            rest=rest,
            inputs=max(0, -(-(side - rest) // stride)),
            places=places,
            last=last,
            first=(rest + padding - last) // stride,
        )


def _forward_job(x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> _Job:
    N, C, H, W = x.shape
    job = _Job(N, H, W, C)
    job.GH, job.GW = job.HO, job.WO = _sides((H, W), weight.shape[2:], stride, padding)
    job.step, job.y0, job.x0 = stride, -padding[0], -padding[1]
    job.rows, job.columns = weight.shape[2:]
    job.K, job.out_step, job.num_threads = len(weight), 1, torch.get_num_threads()
    job.x, job.weight = pointer(x), pointer(weight)
    job.weight_strides[:] = weight.stride()
    return job


def _run(library: ctypes.CDLL, which: str, job: _Job) -> None:
    floats = getattr(library, f"convolens_conv_half_{which}_floats")
    floats.restype = ctypes.c_int64
    memory = torch.empty(floats(ctypes.byref(job)))
    job.memory = pointer(memory)
    getattr(library, f"convolens_conv_half_{which}")(ctypes.byref(job))
