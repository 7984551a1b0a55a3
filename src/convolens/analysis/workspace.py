"""Memory that an operation takes only while it runs, as PyTorch does it on the CPU.

oneDNN convolves tensors in a layout of its own, so a contiguous (N, C, H, W) is copied on the way
in and on the way out; in channels-last layout nothing is copied. Measured, operation by operation,
with PyTorch 2.15 and its profiler; `benchmarks/memory.py` compares whole networks.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
BLOCK = 16  # with AVX-512; 8 with older instructions, which numbers are not to depend on
MOST_PLAIN_CHANNELS = 4  # so few channels are read as they are


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.itemsize


def _blocked(tensor: Tensor) -> int:
    """What a copy of it takes whose channels stand together by 16."""
    channels = tensor.shape[1] or 1
    return _bytes(tensor) // channels * (-(-channels // BLOCK) * BLOCK)


def _read(tensor: Tensor) -> int:
    return _blocked(tensor) if tensor.shape[1] > MOST_PLAIN_CHANNELS else 0


def _is_plain(x: Tensor, weight: Tensor, stride: Any, dilation: Any, groups: int) -> bool:
    """Whether PyTorch convolves by itself, without oneDNN: small inputs, and 1×1 on one thread."""
    sides = weight.shape[2:]
    one = max(sides) == 1 == max(stride) == max(dilation)
    if one and x.shape[0] < 16 and torch.get_num_threads() == 1:
        return True
    return groups == 1 and min(sides) <= 3 and x.shape[0] == 1 and x.numel() <= 20480


def _convolution(args: tuple[Any, ...], results: tuple[Tensor, ...]) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    if not x.is_contiguous():
        return 2 * _bytes(weight) if args[8] == 1 else 0
    if _is_plain(x, weight, args[3], args[5], args[8]):
        return 0
    out, copy = _bytes(results[0]), _blocked(results[0])
    if transposed:
        return 2 * copy
    # The copy of the input is gone before the result is copied out.
    return max(_read(x) + copy - out, copy) + _bytes(weight)


def _convolution_backward(args: tuple[Any, ...], _: tuple[Tensor, ...]) -> int:
    grad, x, weight, groups, wanted = args[0], args[1], args[2], args[9], args[10]
    by_channel = groups > 1 and groups == x.shape[1]
    small = max(weight.shape[2:]) <= 3
    if not x.is_contiguous() or not grad.is_contiguous():
        # In the layout for channels-last, a weight of one channel stands in a block of 16×16.
        copies = 3 if groups == 1 else 256 if by_channel and not small else 0
        return copies * _bytes(weight)
    if _is_plain(x, weight, args[4], args[6], groups):
        return 0
    grad_x = _bytes(x) if wanted[0] else 0
    blocked = groups == 1 or (by_channel and small)
    for_weight = _read(x) + _blocked(grad) + _bytes(weight) if blocked else 0
    for_input = _blocked(grad) + _blocked(x) if wanted[0] else 0
    return max(for_input - grad_x, for_weight, 0)


def _layer_norm(args: tuple[Any, ...], _: tuple[Tensor, ...]) -> int:
    return 0 if args[0].is_contiguous() else _bytes(args[0])


def _layer_norm_backward(args: tuple[Any, ...], _: tuple[Tensor, ...]) -> int:
    return sum(_bytes(tensor) for tensor in args[:2] if not tensor.is_contiguous())


def _batch_norm_backward(args: tuple[Any, ...], _: tuple[Tensor, ...]) -> int:
    return _bytes(args[1])


WORKSPACES: dict[Any, Callable[[tuple[Any, ...], tuple[Tensor, ...]], int]] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
}
