"""The results of the commonest operations without values, where PyTorch's own way is slow.

PyTorch finds the form of many results in Python, at 0.2 to 2 ms an operation (batch norm 1.8 ms).
Here the form is written down. A rule gives `NotImplemented` where a case is not its own, or is
wrong; PyTorch then finds the form, or says what is wrong, itself.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
HALVES = (torch.float16, torch.bfloat16)


def _is_plain(*tensors: Any) -> bool:
    return all(isinstance(t, Tensor) and t.is_meta and t.is_contiguous() for t in tensors)


def _new(shape: Any, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _like_first(x: Tensor, *_: Any, **__: Any) -> Any:
    return _new(x.shape, x.dtype) if _is_plain(x) and x.is_floating_point() else NotImplemented


def _same(x: Tensor, *_: Any, **__: Any) -> Any:
    return x if x.is_meta else NotImplemented


def _like_second(_: Any, x: Tensor, *__: Any, **___: Any) -> Any:
    return _like_first(x)


def _pointwise(a: Any, b: Any, **_: Any) -> Any:
    if not isinstance(a, Tensor) or not a.is_floating_point():
        return NotImplemented
    if not isinstance(b, Tensor):
        plain = isinstance(b, int | float) and _is_plain(a)
        return _new(a.shape, a.dtype) if plain else NotImplemented
    if not a.is_meta or not b.is_meta or a.dtype != b.dtype:
        return NotImplemented
    if a.shape == b.shape:
        dense = a.is_contiguous() or b.is_contiguous()
        return _new(a.shape, a.dtype) if dense else NotImplemented
    if a.dim() != b.dim() or not _is_plain(a, b):
        return NotImplemented
    if any(m != n and 1 not in (m, n) for m, n in zip(a.shape, b.shape, strict=True)):
        return NotImplemented
    return _new([max(sides) for sides in zip(a.shape, b.shape, strict=True)], a.dtype)


def _scaled(a: Any, b: Any, **options: Any) -> Any:
    return NotImplemented if options else _pointwise(a, b)


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, _: Any, training: bool, *__: Any
) -> Any:
    if not _is_plain(x) or x.dim() < 2:
        return NotImplemented
    for name, given in (("running_mean", mean), ("weight", weight), ("bias", bias)):
        if given is not None and given.numel() != x.shape[1]:
            raise RuntimeError(f"{name} should contain {x.shape[1]} elements not {given.numel()}")
    statistics = x.shape[1] if training else 0
    dtype = torch.float32 if x.dtype in HALVES else x.dtype
    return _new(x.shape, x.dtype), _new(statistics, dtype), _new(statistics, dtype)


def _batch_norm_backward(grad: Tensor, x: Tensor, weight: Any, *rest: Any) -> Any:
    if not _is_plain(grad, x):
        return NotImplemented
    wanted = rest[-1]
    dtype = x.dtype if weight is None else weight.dtype
    return (
        _new(x.shape, x.dtype) if wanted[0] else None,
        _new(x.shape[1], dtype) if wanted[1] else None,
        _new(x.shape[1], dtype) if wanted[2] else None,
    )


def _layer_norm(x: Tensor, over: Any, weight: Any, bias: Any, _: float) -> Any:
    fits = tuple(x.shape[x.dim() - len(over) :]) == tuple(over) and x.dtype not in HALVES
    if (
        not fits
        or not _is_plain(x)
        or any(p is not None and p.shape != over for p in (weight, bias))
    ):
        return NotImplemented
    statistics = [*x.shape[: x.dim() - len(over)], *[1] * len(over)]
    return _new(x.shape, x.dtype), _new(statistics, x.dtype), _new(statistics, x.dtype)


def _layer_norm_backward(
    grad: Tensor, x: Tensor, over: Any, _: Any, __: Any, weight: Any, bias: Any, wanted: Any
) -> Any:
    if not _is_plain(grad, x):
        return NotImplemented
    return (
        _new(x.shape, x.dtype) if wanted[0] else None,
        _new(over, weight.dtype) if wanted[1] and weight is not None else None,
        _new(over, bias.dtype) if wanted[2] and bias is not None else None,
    )


def _reduced(x: Tensor, over: Any, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if not over or not _is_plain(x) or not x.is_floating_point() or dtype not in (None, x.dtype):
        return NotImplemented
    axes = {axis % x.dim() for axis in over if -x.dim() <= axis < x.dim()}
    if len(axes) != len(over):
        return NotImplemented
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdim or i not in axes]
    return _new(shape, x.dtype)


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


def _addmm(bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Any:
    fits = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0] and bias.shape == b.shape[1:]
    if not fits or not (a.is_meta and b.is_meta and bias.is_meta) or a.dtype != b.dtype:
        return NotImplemented
    return _new((a.shape[0], b.shape[1]), a.dtype)


RESULTS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(
        (
            *(aten.relu.default, aten.gelu.default, aten.silu.default, aten.hardswish.default),
            *(aten.sigmoid.default, aten.hardsigmoid.default, aten.tanh.default),
            *(aten.leaky_relu.default, aten.hardtanh.default, aten.elu.default, aten.roll.default),
            *(aten.threshold_backward.default, aten._safe_softmax.default),
        ),
        _like_first,
    ),
    **dict.fromkeys(
        (
            *(aten.relu_.default, aten.silu_.default, aten.hardswish_.default),
            *(aten.hardsigmoid_.default, aten.leaky_relu_.default, aten.hardtanh_.default),
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            *(aten.gelu_backward.default, aten.silu_backward.default),
            *(aten.hardswish_backward.default, aten.hardsigmoid_backward.default),
            *(aten.sigmoid_backward.default, aten.tanh_backward.default),
            *(aten.hardtanh_backward.default, aten._softmax_backward_data.default),
        ),
        _like_second,
    ),
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten.add.Tensor: _pointwise,
    aten.sub.Tensor: _pointwise,
    aten.mul.Tensor: _pointwise,
    aten.mul.Scalar: _pointwise,
    aten.div.Tensor: _scaled,
    aten.div.Scalar: _scaled,
    aten.sum.dim_IntList: _reduced,
    aten.mean.dim: _reduced,
    aten.cat.default: _cat,
    aten.addmm.default: _addmm,
}
