"""Why an operation outside of a layer cannot take its tensors."""

from collections.abc import Callable
from itertools import zip_longest
from math import prod

from convolens.analysis.explain_layer import Mismatch, features, origin, volume, windows
from convolens.analysis.graph import Operation, Trace

SIGNS = {"add": "+", "sub": "−", "mul": "·", "div": "/"}


def _pointwise(operation: Operation, trace: Trace) -> Mismatch | None:
    if len(operation.inputs) != 2:
        return None
    a, b = operation.inputs
    sides = list(zip_longest(trace.shape(a)[::-1], trace.shape(b)[::-1], fillvalue=1))[::-1]
    wrong = dict.fromkeys((m, n) for m, n in sides if m != n and 1 not in (m, n))
    if not wrong:
        return None
    kind = operation.name.removeprefix("aten.").rstrip("_")
    sign = SIGNS.get(kind, "and")
    return Mismatch(
        f"{kind}: {volume(trace.shape(a))} of {origin(a, trace)} {sign} "
        f"{volume(trace.shape(b))} of {origin(b, trace)} do not fit: "
        + ", ".join(f"{m} ≠ {n}" for m, n in wrong)
    )


def _cat(operation: Operation, trace: Trace) -> Mismatch | None:
    axis = operation.args[1] if len(operation.args) > 1 else operation.kwargs.get("dim", 0)
    shapes = [trace.shape(value) for value in operation.inputs]
    first = shapes[0]
    listed = " and ".join(
        f"{volume(shape)} of {origin(value, trace)}"
        for value, shape in zip(operation.inputs, shapes, strict=True)
    )
    if any(len(shape) != len(first) for shape in shapes):
        return Mismatch(f"cat: {listed} have different numbers of axes")
    axis %= len(first)
    wrong = {
        (first[i], shape[i])
        for shape in shapes
        for i in range(len(first))
        if i != axis and shape[i] != first[i]
    }
    if not wrong:
        return None
    unequal = ", ".join(f"{m} ≠ {n}" for m, n in sorted(wrong))
    return Mismatch(f"cat along axis {axis}: {listed} do not fit: {unequal}")


def _product(operation: Operation, trace: Trace) -> Mismatch | None:
    a, b = operation.inputs[-2:]
    left, right = trace.shape(a), trace.shape(b)
    if len(left) < 2 or len(right) < 2 or left[-1] == right[-2]:
        return None
    if _is_weight(b, trace):
        return features(right[-2], a, trace)
    return Mismatch(
        f"matrix product of {left} from {origin(a, trace)} and {right} from {origin(b, trace)}: "
        f"{left[-1]:,} ≠ {right[-2]:,}"
    )


def _is_weight(value: int, trace: Trace) -> bool:
    """Whether a value is a parameter, or a view of one."""
    makers = {v: operation for operation in trace.operations for v in operation.outputs}
    while value in makers and len(makers[value].inputs) == 1:
        value = makers[value].inputs[0]
    return trace.values[value].kind == "parameter"


def _view(operation: Operation, trace: Trace) -> Mismatch | None:
    wanted = operation.args[1]
    shape = trace.shape(operation.inputs[0])
    count, known = prod(shape), prod(side for side in wanted if side != -1)
    fits = known and (count % known == 0 if -1 in wanted else count == known)
    if fits:
        return None
    sizes = ", ".join("−1" if side == -1 else str(side) for side in wanted)
    return Mismatch(
        f"view({sizes}) does not fit the {count:,} = {'·'.join(map(str, shape))} numbers "
        f"of {origin(operation.inputs[0], trace)}: {known:,} "
        + (f"do not divide {count:,}" if -1 in wanted else f"≠ {count:,}")
    )


def _convolution(operation: Operation, trace: Trace) -> Mismatch | None:
    x, weight = (trace.shape(value) for value in operation.inputs[:2])
    _, _, _, stride, padding, dilation, transposed, _, groups = operation.args
    if len(x) != len(weight):
        return None
    expected = weight[0] if transposed else weight[1] * groups
    if x[1] != expected:
        return Mismatch(
            f"a convolution takes {expected:,} channels, received {x[1]:,}: {volume(x)} "
            f"of {origin(operation.inputs[0], trace)}"
        )
    return None if transposed else windows(x, weight[2:], stride, padding, dilation)


def _pool(operation: Operation, trace: Trace) -> Mismatch | None:
    shape = trace.shape(operation.inputs[0])
    given = [list(side) for side in operation.args[1:] if isinstance(side, tuple)]
    kernel = given[0]
    axes = len(kernel)
    stride = (given[1] if len(given) > 1 else []) or kernel
    padding = given[2] if len(given) > 2 else [0] * axes
    is_max = operation.name.startswith("aten.max")
    dilation = given[3] if is_max and len(given) > 3 else [1] * axes
    if not len(stride) == len(padding) == len(dilation) == axes:
        return None
    return windows(shape, tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))


Rule = Callable[[Operation, Trace], Mismatch | None]
OPERATIONS: dict[str, Rule] = {
    **dict.fromkeys(("add", "sub", "mul", "div"), _pointwise),
    **dict.fromkeys(("mm", "addmm", "bmm", "matmul"), _product),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d"), _pool),
    "cat": _cat,
    "view": _view,
    "_unsafe_view": _view,
    "convolution": _convolution,
}
