"""Convolution, bias, ReLU and 2×2 max-pooling as one operation, with the gradients of both."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.geometry import output_size
from convolens.nn.kernels.memory import layout_of, num_parts, pair, pointer

# Beyond this the filters leave a core's cache, and PyTorch's own convolution is faster.
MAX_FILTER_BYTES = 1 << 20

_INTEGERS = (
    *("N", "C", "H", "W", "K", "KH", "KW", "P"),
    *("relu", "channels_last", "num_parts", "num_threads"),
)
_POINTERS = (
    *("x", "weight", "bias", "out", "places", "grad_out"),
    *("grad_x", "grad_weight", "grad_bias", "packed", "scratch", "partial"),
)


class _Job(ctypes.Structure):
    """`struct conv_pool` of conv_pool.h, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _INTEGERS),
        *((name, ctypes.c_int64 * 4) for name in ("x_strides", "weight_strides")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    ]


def conv_pool(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    *,
    padding: int = 0,
    relu: bool = False,
    channels_last: bool = True,
) -> Tensor:
    """Computes max_pool2d(relu(conv2d(x, weight, bias, padding=padding)), 2) in one pass.

    ReLU rises nowhere from one value to a smaller one, so it may as well follow the pooling; of
    equal values the first in its window gets the gradient, as in PyTorch.

    Args:
        weight: filters (K, C, KH, KW).
        bias: (K,), or None.
        library: what `load_library` returned.
        relu: whether the ReLU is computed.
        channels_last: memory layout of the result.
    Shape: x (N, C, H, W) -> (N, K, H', W'), H' = ⌊(H + 2P − KH + 1) / 2⌋; float32, on the CPU,
        as `fits_conv_pool` demands.
    """
    options = library, padding, relu, channels_last
    inputs = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        result: Tensor = _ConvPool.apply(x, weight, bias, *options)
        return result
    x = x.contiguous(memory_format=layout_of(x))
    return _forward(x, weight, bias, *options, learns=False)[0]


def stock_conv_pool(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int = 0, relu: bool = False
) -> Tensor:
    """Computes what `conv_pool` computes with PyTorch's own operations."""
    volume = F.conv2d(x, weight, bias, padding=padding)
    return F.max_pool2d(F.relu(volume) if relu else volume, 2)


def fits_conv_pool(conv: nn.Conv2d, pool: nn.MaxPool2d, x_shape: tuple[int, ...]) -> str | None:
    """Says why a convolution followed by a pooling cannot be one `conv_pool`; None if it can.

    Args:
        x_shape: of the convolution's input, (N, C, H, W).
    """
    weight = conv.weight
    if x_shape[1] != conv.in_channels:
        return f"the volume must have {conv.in_channels} channels"
    if pair(conv.stride) != (1, 1) or pair(conv.dilation) != (1, 1) or conv.groups != 1:
        return "stride, dilation and groups of the convolution must be 1"
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return "the convolution's padding must be a number of zeros"
    if conv.padding[0] != conv.padding[1]:
        return "the convolution's padding must be the same on all sides"
    if pair(pool.kernel_size) != (2, 2) or pair(pool.stride) != (2, 2):
        return "the pooling's windows must be 2×2 with stride 2"
    if pair(pool.padding) != (0, 0) or pair(pool.dilation) != (1, 1):
        return "the pooling must have no padding and no dilation"
    if pool.ceil_mode or pool.return_indices:
        return "the pooling must have neither ceil_mode nor return_indices"
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return "the weights must be float32 on the CPU"
    if weight.numel() * weight.element_size() > MAX_FILTER_BYTES:
        return f"the filters take more than {MAX_FILTER_BYTES >> 10} KiB"
    sides = zip(x_shape[2:], conv.kernel_size, strict=True)
    if not x_shape[0] or any(side + 2 * conv.padding[0] - kernel < 1 for side, kernel in sides):
        return "there must be at least one picture and one whole pooling window"
    return None


class _ConvPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        library: ctypes.CDLL,
        padding: int,
        relu: bool,
        channels_last: bool,
    ) -> Tensor:
        x = x.contiguous(memory_format=layout_of(x))
        options = library, padding, relu, channels_last
        out, places = _forward(x, weight, bias, *options, learns=True)
        ctx.save_for_backward(x, weight, places)
        ctx.rest = *options, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, places = ctx.saved_tensors
        library, padding, relu, channels_last, has_bias = ctx.rest
        layout = torch.channels_last if channels_last else torch.contiguous_format
        grad_out = grad_out.contiguous(memory_format=layout)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = torch.empty_like(weight)
        grad_bias = torch.empty(len(weight)) if has_bias else None
        job = _job(x, weight, padding, relu, channels_last)
        job.places, job.grad_out = pointer(places), pointer(grad_out)
        job.grad_x, job.grad_weight = pointer(grad_x), pointer(grad_weight)
        job.grad_bias = pointer(grad_bias)
        _, _, scratch, partial = _floats(library, job)
        memory = torch.empty(partial * (1 + job.num_parts) + scratch * job.num_threads)
        job.packed = pointer(memory)
        job.partial = memory.data_ptr() + 4 * partial
        job.scratch = job.partial + 4 * partial * job.num_parts
        library.convolens_conv_pool_backward(ctypes.byref(job))
        return grad_x, grad_weight, grad_bias, None, None, None, None


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    padding: int,
    relu: bool,
    channels_last: bool,
    *,
    learns: bool,
) -> tuple[Tensor, Tensor | None]:
    """The result, and in which place of each window it was found."""
    sides = [
        output_size(side, kernel, padding=padding) // 2
        for side, kernel in zip(x.shape[2:], weight.shape[2:], strict=True)
    ]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    out = torch.empty(len(x), len(weight), *sides, memory_format=layout)
    places = torch.empty(out.numel(), dtype=torch.uint8) if learns else None
    job = _job(x, weight, padding, relu, channels_last)
    job.out, job.places, job.bias = pointer(out), pointer(places), pointer(bias)
    packed, scratch, _, _ = _floats(library, job)
    memory = torch.empty(packed + scratch * job.num_threads)
    job.packed = pointer(memory)
    job.scratch = memory.data_ptr() + 4 * packed
    library.convolens_conv_pool_forward(ctypes.byref(job))
    return out, places


def _job(x: Tensor, weight: Tensor, padding: int, relu: bool, channels_last: bool) -> _Job:
    N, C, H, W = x.shape
    K, _, KH, KW = weight.shape
    last_x = layout_of(x) == torch.channels_last
    job = _Job(
        *(N, C, H, W, K, KH, KW, padding, relu, channels_last),
        num_parts=num_parts(N),
        num_threads=torch.get_num_threads(),
        x=x.data_ptr(),
        weight=weight.data_ptr(),
    )
    # Not x.stride(), which is arbitrary along axes of length 1.
    job.x_strides[:] = (C * H * W, *((1, W * C, C) if last_x else (H * W, W, 1)))
    job.weight_strides[:] = weight.stride()
    return job


def _floats(library: ctypes.CDLL, job: _Job) -> tuple[int, ...]:
    """Floats of memory: packed and scratch forward; scratch and each part backward."""
    floats = (ctypes.c_int64 * 4)()
    library.convolens_conv_pool_floats(ctypes.byref(job), floats)
    return tuple(floats)
