"""The results of operations on each number, and of sums over axes, without values.

The rules are of `convolens.analysis.meta`: each gives `NotImplemented` where PyTorch has to decide.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from convolens.analysis.meta_windows import META, like, new

aten = torch.ops.aten
Rule = Callable[..., Any]

_UNARY = """
    relu gelu silu hardswish sigmoid hardsigmoid tanh leaky_relu hardtanh elu softplus mish roll
    flip neg abs exp log sqrt rsqrt reciprocal square sin cos erf floor round sign sgn clamp
    clamp_min clamp_max exp2 log2 log1p expm1 cumsum tril triu celu _softmax _log_softmax
    _safe_softmax threshold_backward elu_backward
"""
_IN_PLACE = """
    relu_ silu_ hardswish_ hardsigmoid_ leaky_relu_ hardtanh_ elu_ gelu_ sigmoid_ tanh_ clamp_
    clamp_min_ clamp_max_ bernoulli_ zero_ fill_ exp_ sqrt_ neg_ abs_
"""
_BACKWARD = """
    gelu_backward silu_backward hardswish_backward hardsigmoid_backward sigmoid_backward
    tanh_backward hardtanh_backward leaky_relu_backward softplus_backward mish_backward
    _softmax_backward_data _log_softmax_backward_data
"""
_BINARY = "add sub rsub mul div maximum minimum _prelu_kernel"
_BINARY_IN_PLACE = "add_ sub_ mul_ div_"
_COMPARISON = "eq ne lt le gt ge"


def _unary(x: Any, *_: Any, **options: Any) -> Any:
    return _like(x) if options.keys() <= {"approximate"} else NotImplemented


def _like(x: Any) -> Any:
    plain = isinstance(x, Tensor) and x.is_meta and x.is_floating_point()
    return like(x) if plain else NotImplemented


def _in_place(x: Tensor, *_: Any, **__: Any) -> Any:
    return x if x.is_meta else NotImplemented


def _like_second(_: Any, x: Tensor, *__: Any, **___: Any) -> Any:
    return _like(x)


def _made_alike(x: Tensor, **options: Any) -> Any:
    """`clone`, and `empty_like` with its kin."""
    formats = (None, torch.preserve_format, torch.contiguous_format)
    fits = (
        options.get("memory_format") in formats
        and options.get("device") in (None, x.device)
        and options.get("layout") in (None, torch.strided)
        and not options.get("pin_memory")
    )
    if not fits or not x.is_meta or not x.is_contiguous():
        return NotImplemented
    return new(x.shape, options.get("dtype") or x.dtype)


def _empty(size: Any, **options: Any) -> Any:
    is_plain = options.get("layout") in (None, torch.strided) and not options.get("pin_memory")
    if options.get("device") != META or not is_plain or options.get("memory_format") is not None:
        return NotImplemented
    return new(size, options.get("dtype") or torch.get_default_dtype())


def broadcast(a: Sequence[int], b: Sequence[int]) -> list[int] | None:
    """The shape of what two shapes give together; None where they do not fit.

    Example:
        >>> broadcast((2, 1, 4), (3, 1)), broadcast((2, 3), (4,))
        ([2, 3, 4], None)
    """
    longest = max(len(a), len(b))
    shape = []
    for m, n in zip([1] * (longest - len(a)) + [*a], [1] * (longest - len(b)) + [*b], strict=True):
        if m != n and 1 not in (m, n):
            return None
        shape.append(n if m == 1 else m)
    return shape


def _binary(a: Any, b: Any, **options: Any) -> Any:
    if options.keys() - {"alpha"} or not isinstance(a, Tensor) or not a.is_floating_point():
        return NotImplemented
    if not isinstance(b, Tensor):
        return like(a) if isinstance(b, int | float) and a.is_meta else NotImplemented
    if not a.is_meta or not b.is_meta or a.dtype != b.dtype:
        return NotImplemented
    if a.shape == b.shape and 0 not in a.stride():  # the first decides the layout
        return like(a)
    shape = broadcast(a.shape, b.shape)
    if shape is None or not a.is_contiguous() or not b.is_contiguous():
        return NotImplemented
    if shape not in ([*a.shape], [*b.shape]):  # where both are spread out, neither decides
        return NotImplemented
    return new(shape, a.dtype)


def _binary_in_place(a: Any, b: Any, **_: Any) -> Any:
    if not isinstance(a, Tensor) or not a.is_meta or not a.is_floating_point():
        return NotImplemented
    if not isinstance(b, Tensor):
        return a if isinstance(b, int | float) else NotImplemented
    fits = b.is_meta and b.dtype == a.dtype and broadcast(a.shape, b.shape) == list(a.shape)
    return a if fits else NotImplemented


def _counted_up(a: Any, b: Any, **options: Any) -> Any:
    """`add_`, also of whole numbers: batch norms count their batches so."""
    is_count = isinstance(a, Tensor) and a.dtype == torch.int64 and type(b) is int and a.is_meta
    return a if is_count else _binary_in_place(a, b, **options)


def _comparison(a: Any, b: Any) -> Any:
    result = _binary(a, b)
    return NotImplemented if result is NotImplemented else like(result, torch.bool)


def _power(x: Any, exponent: Any) -> Any:
    return _like(x) if isinstance(exponent, int | float) else NotImplemented


def _filled(x: Any, mask: Any, _: Any) -> Any:
    fits = isinstance(mask, Tensor) and broadcast(x.shape, mask.shape) == list(x.shape)
    return like(x) if fits and x.is_meta and mask.is_meta else NotImplemented


def _sized(grad: Tensor, sizes: Any, *_: Any) -> Any:
    return new(sizes, grad.dtype) if grad.is_meta else NotImplemented


def _where(condition: Any, a: Any, b: Any) -> Any:
    if not all(
        isinstance(t, Tensor) and t.is_meta and t.is_contiguous() for t in (a, b, condition)
    ):
        return NotImplemented
    values = broadcast(a.shape, b.shape)
    shape = None if values is None else broadcast(condition.shape, values)
    fits = shape is not None and a.dtype == b.dtype and condition.dtype == torch.bool
    return new(shape, a.dtype) if fits else NotImplemented


def _reduced(x: Tensor, over: Any = (), keepdim: bool = False, *, dtype: Any = None) -> Any:
    shape = reduced_shape(x, over, keepdim)
    return NotImplemented if shape is None or dtype not in (None, x.dtype) else new(shape, x.dtype)


def reduced_shape(x: Tensor, over: Any, keepdim: bool) -> list[int] | None:
    """The shape after the axes `over` are summed up; None where PyTorch has to say."""
    if not over or not x.is_meta or not x.is_contiguous() or not x.is_floating_point():
        return None
    axes = {axis % x.dim() for axis in over if -x.dim() <= axis < x.dim()}
    if len(axes) != len(over):
        return None
    return [1 if i in axes else n for i, n in enumerate(x.shape) if keepdim or i not in axes]


def _norm(x: Tensor, _: Any = 2, over: Any = None, keepdim: bool = False, **options: Any) -> Any:
    return NotImplemented if options else _reduced(x, over, keepdim)


def _variance(x: Tensor, over: Any = None, **options: Any) -> Any:
    return _reduced(x, over, options.get("keepdim", False))


def _all_overloads(names: str, rule: Rule, *overloads: str) -> dict[Any, Rule]:
    return {
        getattr(packet, overload): rule
        for packet in (getattr(aten, name) for name in names.split())
        for overload in packet.overloads()
        if overload in overloads
    }


ELEMENTWISE: dict[Any, Rule] = {
    **_all_overloads(_UNARY, _unary, "default", "int", "Tensor_dim"),
    **_all_overloads(_IN_PLACE, _in_place, "default", "float", "Scalar"),
    **_all_overloads(_BACKWARD, _like_second, "default"),
    **_all_overloads(_BINARY, _binary, "default", "Tensor", "Scalar"),
    **_all_overloads(_BINARY_IN_PLACE, _binary_in_place, "Tensor", "Scalar"),
    **_all_overloads(_COMPARISON, _comparison, "Tensor", "Scalar"),
    **_all_overloads("clone empty_like zeros_like ones_like", _made_alike, "default"),
    **_all_overloads("sum mean", _reduced, "dim", "dim_IntList"),
    **_all_overloads("amax amin logsumexp", _reduced, "default"),
    aten.add_.Tensor: _counted_up,
    aten.empty.memory_format: _empty,
    aten.pow.Tensor_Scalar: _power,
    aten.masked_fill.Scalar: _filled,
    aten.slice_backward.default: _sized,
    aten.select_backward.default: _sized,
    aten.where.self: _where,
    aten.linalg_vector_norm.default: _norm,
    aten.var.correction: _variance,
}
