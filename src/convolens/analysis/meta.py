"""The results of the commonest operations without values, where PyTorch's own way is slow.

PyTorch computes the form of some results in Python at 0.2 to 2 ms an operation (batch norm 1.8 ms).
Here the form is written down. A rule gives `NotImplemented` where a case is not its own; PyTorch
then computes the result itself.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _is_plain(*tensors: Tensor) -> bool:
    return all(t.device.type == "meta" and t.is_contiguous() for t in tensors)


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, _: Any, training: bool, *__: Any
) -> Any:
    if not _is_plain(x):
        return NotImplemented
    for name, given in (("running_mean", mean), ("weight", weight), ("bias", bias)):
        if given is not None and given.numel() != x.shape[1]:
            raise RuntimeError(f"{name} should contain {x.shape[1]} elements not {given.numel()}")
    statistics = x.shape[1] if training else 0
    dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    return (
        torch.empty_like(x),
        torch.empty(statistics, dtype=dtype, device="meta"),
        torch.empty(statistics, dtype=dtype, device="meta"),
    )


def _batch_norm_backward(grad: Tensor, x: Tensor, weight: Any, *rest: Any) -> Any:
    if not _is_plain(grad, x):
        return NotImplemented
    mask = rest[-1]
    channels = torch.empty(
        x.shape[1], dtype=x.dtype if weight is None else weight.dtype, device="meta"
    )
    return (
        torch.empty_like(x) if mask[0] else None,
        channels if mask[1] else None,
        torch.empty_like(channels) if mask[2] else None,
    )


def _like_first(grad: Tensor, *_: Any, **__: Any) -> Any:
    return torch.empty_like(grad) if _is_plain(grad) else NotImplemented


def _pointwise(a: Any, b: Any, **_: Any) -> Any:
    if not isinstance(b, Tensor):
        if isinstance(b, int | float) and a.is_floating_point() and _is_plain(a):
            return torch.empty_like(a)
        return NotImplemented
    if a.shape != b.shape or a.dtype != b.dtype or not _is_plain(a, b):
        return NotImplemented
    return torch.empty_like(a)


def _divide(a: Tensor, b: Any, **options: Any) -> Any:
    return _pointwise(a, b) if a.is_floating_point() and not options else NotImplemented


def _cat(tensors: Any, dim: int = 0) -> Any:
    first = tensors[0]
    if not _is_plain(*tensors) or any(
        t.dim() != first.dim() or t.dtype != first.dtype for t in tensors
    ):
        return NotImplemented
    dim %= max(first.dim(), 1)
    for tensor in tensors:
        if any(
            a != b
            for i, (a, b) in enumerate(zip(tensor.shape, first.shape, strict=True))
            if i != dim
        ):
            return NotImplemented
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return torch.empty(shape, dtype=first.dtype, device="meta")


def _addmm(bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Any:
    fits = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0] and bias.shape == b.shape[1:]
    if not fits or not a.device.type == b.device.type == "meta" or a.dtype != b.dtype:
        return NotImplemented
    return torch.empty(a.shape[0], b.shape[1], dtype=a.dtype, device="meta")


RESULTS: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.threshold_backward.default: _like_first,
    aten.relu.default: _like_first,
    aten.add.Tensor: _pointwise,
    aten.sub.Tensor: _pointwise,
    aten.mul.Tensor: _pointwise,
    aten.div.Tensor: _divide,
    aten.cat.default: _cat,
    aten.addmm.default: _addmm,
}
