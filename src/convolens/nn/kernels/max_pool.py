"""Max-pooling of channels-last volumes, optionally with ReLU, with its gradient."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convolens.geometry import output_size
from convolens.nn.kernels.memory import pair, pointer

NUM_PARTS = 64  # rows are independent of each other, so this many is only a matter of balance
LARGEST_WINDOW = 15  # the place of a value in its window is one byte

_INTEGERS = (
    *("N", "C", "H", "W", "HO", "WO", "size", "stride", "P"),
    *("relu", "num_parts", "num_threads"),
)


class _Job(ctypes.Structure):
    """`struct max_pool` of max_pool.c, field for field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _INTEGERS),
        *((name, ctypes.c_void_p) for name in ("x", "out", "places", "grad_out", "grad_x")),
    ]


def max_pool(
    x: Tensor,
    library: ctypes.CDLL,
    *,
    kernel_size: int = 2,
    stride: int = 2,
    padding: int = 0,
    relu: bool = False,
) -> Tensor:
    """Computes max_pool2d(x, kernel_size, stride, padding), and relu of it where wanted.

    NaN wins over every number, and of equal values the first in its window gets the gradient, as
    in PyTorch.

    Args:
        library: what `load_library` returned.
        relu: whether the ReLU is computed.
    Shape: x (N, C, H, W) -> (N, C, H', W'); float32 on the CPU, channels-last.
    """
    options = library, kernel_size, stride, padding, relu
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _MaxPool.apply(x, *options)
        return result
    return _forward(x, *options, learns=False)[0]


def stock_max_pool(
    x: Tensor, *, kernel_size: int = 2, stride: int = 2, padding: int = 0, relu: bool = False
) -> Tensor:
    """Computes what `max_pool` computes with PyTorch's own operations."""
    return F.max_pool2d(F.relu(x) if relu else x, kernel_size, stride, padding)


def fits_max_pool(pool: nn.MaxPool2d, x_shape: tuple[int, ...]) -> str | None:
    """Says why a pooling cannot be `max_pool`; None if it can.

    Args:
        x_shape: of its input, (N, C, H, W).
    """
    kinds = (pool.kernel_size, pool.stride, pool.padding)
    if any(a != b for a, b in map(pair, kinds)):
        return "windows, stride and padding of the pooling must be the same along both axes"
    if pair(pool.dilation) != (1, 1) or pool.ceil_mode or pool.return_indices:
        return "the pooling must have neither dilation nor ceil_mode nor return_indices"
    if pair(pool.kernel_size)[0] > LARGEST_WINDOW:
        return f"the pooling's windows must be at most {LARGEST_WINDOW} px wide"
    size, _, padding = (pair(value)[0] for value in kinds)
    if not x_shape[0] or 2 * padding > size or min(x_shape[2:]) + 2 * padding < size:
        return "there must be at least one picture and one whole window"
    return None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        library: ctypes.CDLL,
        size: int,
        stride: int,
        padding: int,
        relu: bool,
    ) -> Tensor:
        out, places = _forward(x, library, size, stride, padding, relu, learns=True)
        ctx.save_for_backward(places)
        ctx.rest = library, x.shape, size, stride, padding
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        library, shape, size, stride, padding = ctx.rest
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty(shape, memory_format=torch.channels_last)
        job = _Job(
            *(*shape, *grad_out.shape[2:], size, stride, padding),
            *(False, NUM_PARTS, torch.get_num_threads()),
            *(None, None, pointer(places), pointer(grad_out), pointer(grad_x)),
        )
        library.convolens_max_pool_backward(ctypes.byref(job))
        return grad_x, None, None, None, None, None


def _forward(
    x: Tensor,
    library: ctypes.CDLL,
    size: int,
    stride: int,
    padding: int,
    relu: bool,
    *,
    learns: bool,
) -> tuple[Tensor, Tensor | None]:
    """The result, and in which place of each window it was found."""
    x = x.contiguous(memory_format=torch.channels_last)
    sides = [output_size(side, size, stride=stride, padding=padding) for side in x.shape[2:]]
    out = torch.empty(*x.shape[:2], *sides, memory_format=torch.channels_last)
    places = torch.empty(out.numel(), dtype=torch.uint8) if learns else None
    job = _Job(
        *(*x.shape, *sides, size, stride, padding),
        *(relu, NUM_PARTS, torch.get_num_threads()),
        *(pointer(x), pointer(out), pointer(places)),
    )
    library.convolens_max_pool_forward(ctypes.byref(job))
    return out, places
