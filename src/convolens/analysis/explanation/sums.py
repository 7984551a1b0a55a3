"""Matrix products, sums and products of branches, reductions, and interpolation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from convolens.analysis.explanation.head import Head, Integers, head_of, joined
from convolens.analysis.explanation.passage import Numbers, Passage
from convolens.analysis.field.arguments import Arguments
from convolens.analysis.graph import Ref

Index = tuple[int, ...]
PRODUCTS: Mapping[str, tuple[int, int, int]] = {
    # positions of the bias (−1 where there is none) and of both factors
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot"), (-1, 0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), (0, 1, 2)),
    "linear": (2, 0, 1),
}


def matrix_product(passage: Passage, given: Arguments, index: Index) -> Head | None:
    """Σ_k a_ik · b_kj, the factor that is no weight being the value."""
    bias_at, a_at, b_at = PRODUCTS[given.name]
    a, b = given.value(a_at), given.value(b_at)
    vector = len(passage.shape(b)) == 1
    of_a: Any = index if vector else index[:-1]
    of_b: Any = (*index[: len(passage.shape(b)) - 2], slice(None), index[-1])
    if vector:
        of_b = slice(None)
    elif given.name == "linear":
        of_b = index[-1]
    # The factor that is no weight is the value.
    own, other = ((a, of_a), (b, of_b))
    if a not in passage.varying and b in passage.varying:
        own, other = other, own
    kwargs = given.operation.kwargs
    weights = passage.pick(*other) * float(kwargs.get("alpha", 1))
    elements = numbers_of(passage, own[0])[own[1]]
    bias = None
    if bias_at >= 0 and given.value(bias_at) >= 0:
        held = broadcast_number(passage, given.value(bias_at), given.output, index)
        bias = held * float(kwargs.get("beta", 1))
    return head_of(
        passage,
        own[0],
        elements,
        weights,
        operation="linear",
        formula="Σ weight · input" if bias is None else "Σ weight · input + bias",
        bias=bias,
    )


def combination(passage: Passage, given: Arguments, index: Index) -> Head | None:
    """The sum, difference, product or quotient of two branches."""
    a, b = given.value(0), given.value(1)
    if a < 0 or b < 0 or not {a, b} <= passage.varying:
        return None
    at_a, at_b = (broadcast_element(passage, v, given.output, index) for v in (a, b))
    if given.name in ("add", "sub", "rsub"):
        alpha = float(given.operation.kwargs.get("alpha", 1))
        signs = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[given.name]
        heads = [
            head_of(passage, value, at, np.array([sign]), operation="")
            for value, at, sign in ((a, at_a, signs[0]), (b, at_b, signs[1]))
        ]
        words = "sum" if given.name == "add" else "difference"
        return joined(heads, operation=f"{words} of two branches", formula="Σ weight · value")
    if given.name == "div":
        weight = 1.0 / passage.array(b).reshape(-1)[at_b]
        return head_of(
            passage, a, at_a, weight, operation="quotient", formula=f"value / ({passage.name(b)})"
        )
    # Of the two the smaller is the gate, as in squeeze-and-excitation.
    small_first = np.prod(passage.shape(a)) < np.prod(passage.shape(b))
    value, at, gate, by = (b, at_b, a, at_a) if small_first else (a, at_a, b, at_b)
    weight = passage.array(gate).reshape(-1)[by]
    return head_of(
        passage,
        value,
        at,
        weight,
        operation="product of two branches",
        formula=f"value · weight, which is {passage.name(gate)} {_unit(passage, gate, by)}",
    )


def _unit(passage: Passage, value: int, at: Integers) -> str:
    return f"({', '.join(map(str, passage.unit(value, int(at[0]))))})"


def gated(passage: Passage, given: Arguments, index: Index) -> Head:
    """GLU: the first half of an axis times the sigmoid of the second."""
    value = given.value(0)
    axis = given.get(1, -1) % len(index)
    at = list(index)
    at[axis] += given.output[axis]
    numbers = numbers_of(passage, value)
    gate = passage.array(value)[tuple(at)]
    return head_of(
        passage,
        value,
        numbers[index].reshape(1),
        np.array([1.0 / (1.0 + np.exp(-gate))]),
        operation="gated linear unit",
        formula=f"value · sigmoid({gate:.6g})",
    )


def reduction(passage: Passage, given: Arguments, index: Index) -> Head | None:
    """The sum, mean, greatest or least along axes."""
    value, name = given.value(0), given.name
    if name in ("max", "min") and len(given.operation.inputs) > 1:
        return _greater_of_two(passage, given, index)
    axes = given.axes(1)
    rank = len(given.shape(0))
    keeps = len(given.output) == rank
    kept = list(index) if keeps else []
    if not keeps:
        rest = iter(index)
        kept = [0 if axis in axes else next(rest) for axis in range(rank)]
    chosen = tuple([slice(None) if axis in axes else kept[axis] for axis in range(rank)])
    elements = numbers_of(passage, value)[chosen].reshape(-1)
    if name in ("sum", "mean"):
        weights = np.full(len(elements), 1.0 if name == "sum" else 1.0 / len(elements))
        formula = "Σ value" if name == "sum" else f"Σ value / {len(elements)}"
        words = name if name == "sum" else "average"
    else:
        read = passage.array(value).reshape(-1)[elements]
        greatest = name in ("amax", "max")
        weights = np.zeros(len(elements))
        weights[int(read.argmax() if greatest else read.argmin())] = 1.0
        words = "greatest" if greatest else "least"
        formula = f"the {words} value; the winner has weight 1"
    operation = f"{words} of {len(elements)} values"
    return head_of(passage, value, elements, weights, operation=operation, formula=formula)


def _greater_of_two(passage: Passage, given: Arguments, index: Index) -> Head | None:
    values = (given.value(0), given.value(1))
    if min(values) < 0:
        return None
    elements = [broadcast_element(passage, v, given.output, index) for v in values]
    read = [
        float(passage.array(v).reshape(-1)[at][0]) for v, at in zip(values, elements, strict=True)
    ]
    greatest = given.name in ("max", "maximum")
    winner = int(np.argmax(read) if greatest else np.argmin(read))
    heads = [
        head_of(passage, value, at, np.array([float(n == winner)]), operation="")
        for n, (value, at) in enumerate(zip(values, elements, strict=True))
    ]
    words = "greater" if greatest else "lesser"
    formula = f"the {words} value; the winner has weight 1"
    return joined(heads, operation=f"{words} of two branches", formula=formula)


def pair(passage: Passage, given: Arguments, index: Index) -> Head | None:
    """The greater or lesser of two branches, element by element."""
    return _greater_of_two(passage, given, index)


def interpolation(passage: Passage, given: Arguments, index: Index) -> Head:
    """The weights of an interpolation: how much the result changes with each element."""
    value = given.value(0)
    x = torch.from_numpy(passage.array(value).copy()).requires_grad_(True)
    with torch.enable_grad():
        args = [x if isinstance(a, Ref) else _plain(a) for a in given.operation.args]
        y = getattr(torch.ops.aten, given.name)(*args, **given.operation.kwargs)
        (slope,) = torch.autograd.grad(y[index], x)
    weights = slope.reshape(-1).numpy()
    # What rounding leaves of a weight of zero is less.
    elements = np.flatnonzero(np.abs(weights) > 1e-12)
    mode = given.name.strip("_").removeprefix("upsample_").rstrip("123d_a")
    return head_of(passage, value, elements, weights[elements], operation=f"{mode} interpolation")


def _plain(argument: Any) -> Any:
    return list(argument) if isinstance(argument, tuple) else argument


def numbers_of(passage: Passage, value: int) -> Integers:
    """The elements of a value, numbered, in its shape."""
    shape = passage.shape(value)
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def broadcast_element(
    passage: Passage, value: int, shape: tuple[int, ...], index: Index
) -> Integers:
    """The element of a value that broadcasting brings to a place of the result, (1,)."""
    found: Integers = np.broadcast_to(numbers_of(passage, value), shape)[index].reshape(1)
    return found


def broadcast_number(passage: Passage, value: int, shape: tuple[int, ...], index: Index) -> float:
    """What broadcasting brings to a place of the result."""
    array: Numbers = np.broadcast_to(passage.array(value), shape)
    return float(array[index])
