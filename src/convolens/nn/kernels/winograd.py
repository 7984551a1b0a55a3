"""3×3 convolutions with stride 1 by Winograd's algorithm, with their gradients."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.nn.kernels.memory import largest, pair, pointer

# With fewer tiles, transforming the filters costs more than it saves: measured.
LEAST_TILES = 32
FILTERS_PER_TILE = 8192

_POINTERS = ("x", "weight", "bias", "out", "grad_out", "grad_weight", "memory")


class _Job(ctypes.Structure):
    """`struct winograd` of winograd.c, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("N", "C", "H", "W", "K", "HO", "WO", "P")),
        *((name, ctypes.c_int64) for name in ("num_threads", "flip", "half")),
        ("weight_strides", ctypes.c_int64 * 4),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("largest_weight", ctypes.c_float),
    ]


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    *,
    padding: int = 1,
    half: bool = False,
) -> Tensor:
    """Computes conv2d(x, weight, bias, padding=padding) for 3×3 filters, by fewer products.

    The sums are taken in another order than by definition and of larger terms, so about one
    decimal digit of float32 is lost.

    Source: Lavin and Gray (2015), Fast algorithms for convolutional neural networks,
        arXiv:1509.09308, F(4×4, 3×3).
    Args:
        weight: filters (K, C, 3, 3).
        bias: (K,), or None.
        library: what `load_library` returned.
        padding: zeros on each side; at most 2.
        half: whether products are taken in float16, which `has_half` must allow. Both factors are
            scaled by powers of two such that none overflows, up to 64 products are added in
            float16 and these sums in float32: results differ by about 0.4 %.
    Shape: x (N, C, H, W) -> (N, K, H + 2P − 2, W + 2P − 2); float32 on the CPU, channels-last,
        C and K multiples of the processor's vector, as `fits_conv3x3` demands.
    """
    inputs = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        result: Tensor = _Conv3x3.apply(x, weight, bias, library, padding, half)
        return result
    return _convolve(x, weight, bias, library, padding, largest(weight) if half else None)


def stock_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int = 1) -> Tensor:
    """Computes what `conv3x3` computes with PyTorch's own operation."""
    return F.conv2d(x, weight, bias, padding=padding)


def fits_conv3x3(conv: nn.Conv2d, x_shape: tuple[int, ...], library: ctypes.CDLL) -> str | None:
    """Says why a convolution cannot be `conv3x3` with a gain; None if it can.

    Args:
        x_shape: of its input, (N, C, H, W).
    """
    if x_shape[1] != conv.in_channels:
        return f"the volume must have {conv.in_channels} channels"
    if pair(conv.kernel_size) != (3, 3) or pair(conv.stride) != (1, 1):
        return "the convolution must be 3×3 with stride 1"
    if pair(conv.dilation) != (1, 1) or conv.groups != 1:
        return "the convolution must have neither dilation nor groups"
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return "the convolution's padding must be a number of zeros"
    if conv.padding[0] != conv.padding[1] or conv.padding[0] > 2:
        return "the convolution's padding must be the same on all sides, and at most 2"
    if conv.weight.dtype != torch.float32 or conv.weight.device.type != "cpu":
        return "the weights must be float32 on the CPU"
    lanes = library.convolens_lanes()
    if conv.in_channels % lanes or conv.out_channels % lanes:
        return f"the numbers of channels must be multiples of {lanes}"
    sides = [side + 2 * conv.padding[0] - 2 for side in x_shape[2:]]
    if min(sides) < 1:
        return "there must be at least one whole window"
    least = max(LEAST_TILES, conv.in_channels * conv.out_channels // FILTERS_PER_TILE)
    if x_shape[0] * -(-sides[0] // 4) * -(-sides[1] // 4) < least:
        return f"there must be at least {least} tiles of 4×4 outputs"
    return None


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        library: ctypes.CDLL,
        padding: int,
        half: bool,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.rest = library, padding, largest(weight) if half else None
        return _convolve(x, weight, bias, *ctx.rest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        library, padding, most = ctx.rest
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            # The same convolution with the filters turned and their channels exchanged.
            grad_x = _convolve(grad_out, weight, None, library, 2 - padding, most, turned=True)
        if ctx.needs_input_grad[1]:
            grad_weight = _grad_weight(x, weight, grad_out, *ctx.rest)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_out.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None, None


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    library: ctypes.CDLL,
    padding: int,
    largest_weight: float | None,
    *,
    turned: bool = False,
) -> Tensor:
    """The convolution; with the largest |w|, by products of float16."""
    x = x.contiguous(memory_format=torch.channels_last)
    job = _job(x, weight.transpose(0, 1) if turned else weight, padding, largest_weight)
    out = torch.empty(job.N, job.K, job.HO, job.WO, memory_format=torch.channels_last)
    memory = _memory(library.convolens_winograd_forward_floats, job)
    job.bias, job.out, job.memory = map(pointer, (bias, out, memory))
    job.flip = turned
    library.convolens_winograd_forward(ctypes.byref(job))
    return out


def _grad_weight(
    x: Tensor,
    weight: Tensor,
    grad_out: Tensor,
    library: ctypes.CDLL,
    padding: int,
    largest_weight: float | None,
) -> Tensor:
    grad_weight = torch.empty_like(weight)
    job = _job(x, weight, padding, largest_weight)
    memory = _memory(library.convolens_winograd_backward_floats, job)
    job.grad_out, job.grad_weight, job.memory = map(pointer, (grad_out, grad_weight, memory))
    library.convolens_winograd_backward(ctypes.byref(job))
    return grad_weight


def _job(x: Tensor, weight: Tensor, padding: int, largest_weight: float | None) -> _Job:
    N, C, H, W = x.shape
    job = _Job(N, C, H, W, len(weight), H + 2 * padding - 2, W + 2 * padding - 2, padding)
    job.num_threads = torch.get_num_threads()
    job.half, job.largest_weight = largest_weight is not None, largest_weight or 0.0
    job.x, job.weight = pointer(x), pointer(weight)
    job.weight_strides[:] = weight.stride()
    return job


def _memory(floats: Any, job: _Job) -> Tensor:
    floats.restype = ctypes.c_int64
    return torch.empty(floats(ctypes.byref(job)))
