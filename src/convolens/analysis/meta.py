"""The results of the commonest operations without values, where PyTorch's own way is slow.

PyTorch finds the form of many results in Python, at 0.2 to 2 ms an operation (batch norm 1.8 ms).
Here the form is written down. A rule gives `NotImplemented` where a case is not its own, or is
wrong; PyTorch then finds the form, or says what is wrong, itself.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from convolens.analysis.meta_elementwise import ELEMENTWISE
from convolens.analysis.meta_windows import WINDOWS, laid_out
from convolens.analysis.meta_windows import new as _new

aten = torch.ops.aten
HALVES = (torch.float16, torch.bfloat16)


def _is_plain(*tensors: Any) -> bool:
    return all(isinstance(t, Tensor) and t.is_meta and t.is_contiguous() for t in tensors)


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, _: Any, training: bool, *__: Any
) -> Any:
    result = laid_out(x.shape, x.dtype, x) if x.is_meta and x.dim() > 1 else NotImplemented
    if result is NotImplemented:
        return NotImplemented
    for name, given in (("running_mean", mean), ("weight", weight), ("bias", bias)):
        if given is not None and given.numel() != x.shape[1]:
            raise RuntimeError(f"{name} should contain {x.shape[1]} elements not {given.numel()}")
    statistics = x.shape[1] if training else 0
    dtype = torch.float32 if x.dtype in HALVES else x.dtype
    return result, _new(statistics, dtype), _new(statistics, dtype)


def _batch_norm_backward(grad: Tensor, x: Tensor, weight: Any, *rest: Any) -> Any:
    gradient = laid_out(x.shape, x.dtype, x) if grad.is_meta and x.is_meta else NotImplemented
    if gradient is NotImplemented:
        return NotImplemented
    wanted = rest[-1]
    dtype = x.dtype if weight is None else weight.dtype
    return (
        gradient if wanted[0] else None,
        _new(x.shape[1], dtype) if wanted[1] else None,
        _new(x.shape[1], dtype) if wanted[2] else None,
    )


def _layer_norm(x: Tensor, over: Any, weight: Any, bias: Any, _: float) -> Any:
    over = tuple(over)
    fits = tuple(x.shape[x.dim() - len(over) :]) == over and x.dtype not in HALVES
    # A result on the CPU is contiguous, whatever x is.
    if not fits or not x.is_meta or any(p is not None and p.shape != over for p in (weight, bias)):
        return NotImplemented
    statistics = [*x.shape[: x.dim() - len(over)], *[1] * len(over)]
    return _new(x.shape, x.dtype), _new(statistics, x.dtype), _new(statistics, x.dtype)


def _layer_norm_backward(
    grad: Tensor, x: Tensor, over: Any, _: Any, __: Any, weight: Any, bias: Any, wanted: Any
) -> Any:
    if not (grad.is_meta and x.is_meta):
        return NotImplemented
    return (
        _new(x.shape, x.dtype) if wanted[0] else None,
        _new(over, weight.dtype) if wanted[1] and weight is not None else None,
        _new(over, bias.dtype) if wanted[2] and bias is not None else None,
    )


def _cat(tensors: Any, dim: int = 0) -> Any:
    first = tensors[0]
    axes = first.dim()
    if not _is_plain(*tensors) or not -axes <= dim < axes:
        return NotImplemented
    dim %= axes
    shape = list(first.shape)
    for tensor in tensors[1:]:
        other = list(tensor.shape)
        if tensor.dtype != first.dtype or len(other) != axes:
            return NotImplemented
        if other[:dim] != shape[:dim] or other[dim + 1 :] != shape[dim + 1 :]:
            return NotImplemented
        shape[dim] += other[dim]
    return _new(shape, first.dtype)


def _stack(tensors: Any, dim: int = 0) -> Any:
    first = tensors[0]
    alike = all(t.shape == first.shape and t.dtype == first.dtype for t in tensors)
    if not alike or not _is_plain(*tensors) or not -first.dim() - 1 <= dim <= first.dim():
        return NotImplemented
    shape = list(first.shape)
    shape.insert(dim % (first.dim() + 1), len(tensors))
    return _new(shape, first.dtype)


def _group_norm(x: Tensor, _: Any, __: Any, *sizes: Any) -> Any:
    n, channels, area, groups = sizes[:4]
    fits = channels % groups == 0 and n * channels * area == x.numel() and x.dtype not in HALVES
    if not fits or not _is_plain(x):
        return NotImplemented
    return _new(x.shape, x.dtype), _new((n, groups), x.dtype), _new((n, groups), x.dtype)


def _group_norm_backward(grad: Tensor, x: Tensor, *rest: Any) -> Any:
    if not _is_plain(grad, x):
        return NotImplemented
    channels, wanted = rest[4], rest[-1]
    return (
        _new(x.shape, x.dtype) if wanted[0] else None,
        _new((channels,), x.dtype) if wanted[1] else None,
        _new((channels,), x.dtype) if wanted[2] else None,
    )


def _product(a: Tensor, b: Tensor) -> Any:
    fits = a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2] and a.dtype == b.dtype
    if not fits or not (a.is_meta and b.is_meta) or not a.is_floating_point():
        return NotImplemented
    return _new((*a.shape[:-1], b.shape[-1]), a.dtype)


def _addmm(bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Any:
    fits = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0] and bias.shape == b.shape[1:]
    if not fits or not (a.is_meta and b.is_meta and bias.is_meta) or a.dtype != b.dtype:
        return NotImplemented
    return _new((a.shape[0], b.shape[1]), a.dtype)


RESULTS: dict[Any, Callable[..., Any]] = {
    **ELEMENTWISE,
    **WINDOWS,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten.native_group_norm.default: _group_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
    aten.cat.default: _cat,
    aten.stack.default: _stack,
    aten.addmm.default: _addmm,
    aten.mm.default: _product,
    aten.bmm.default: _product,
}
