"""What a rule says of an operation that makes one element of many."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convolens.analysis.explanation.passage import Numbers, Passage

Integers = NDArray[np.int64]
OUTSIDE = -1  # in place of an element: there is none, as in padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """A step within the operation, after its sum."""

    name: str
    formula: str
    result: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The arithmetic of one element, as arrays over its n terms.

    Args:
        operation: in words.
        formula: of the operation.
        weights, values, products: (n,) each; Σ products is the sum.
        inputs: the value of the trace that each term is of, (n,).
        elements: the place of each term among that value's elements, or OUTSIDE, (n,).
        places: position of each term in the operation's input, without the batch, (n, axes).
        padded: whether the term is of padding, (n,).
        bias: added to the sum.
        finish: what then happens, in order.
        explained: False where the operation has no rule.
    """

    operation: str
    formula: str
    weights: Numbers
    values: Numbers
    products: Numbers
    inputs: Integers
    elements: Integers
    places: Integers
    padded: NDArray[np.bool_]
    bias: float | None = None
    finish: tuple[Last, ...] = ()
    explained: bool = True


def head_of(
    passage: Passage,
    value: int,
    elements: Integers,
    weights: Numbers,
    *,
    operation: str,
    formula: str = "Σ weight · value",
    products: Numbers | None = None,
    places: Integers | None = None,
    padded: NDArray[np.bool_] | None = None,
    outside: float = 0.0,
    bias: float | None = None,
    finish: tuple[Last, ...] = (),
) -> Head:
    """The arithmetic of an element whose terms are elements of one value.

    Args:
        outside: what stands for an element that is none.
    """
    flat = passage.array(value).reshape(-1)
    missing = elements == OUTSIDE
    values = np.where(missing, outside, flat[np.where(missing, 0, elements)])
    if products is None:
        # A loser of max-pooling may be infinite; adding 0 makes zeros of both signs one.
        products = weights * np.where(weights == 0, 0.0, values) + 0.0
    if places is None:
        places = passage.units(value, elements)
    return Head(
        operation=operation,
        formula=formula,
        weights=weights,
        values=values,
        products=products,
        inputs=np.full(len(elements), value, dtype=np.int64),
        elements=elements,
        places=places,
        padded=missing if padded is None else padded,
        bias=bias,
        finish=finish,
    )


def joined(heads: list[Head], *, operation: str, formula: str) -> Head:
    """One head of the terms of several."""
    deepest = max(head.places.shape[1] for head in heads)
    places = [np.pad(head.places, ((0, 0), (0, deepest - head.places.shape[1]))) for head in heads]
    return Head(
        operation=operation,
        formula=formula,
        weights=np.concatenate([head.weights for head in heads]),
        values=np.concatenate([head.values for head in heads]),
        products=np.concatenate([head.products for head in heads]),
        inputs=np.concatenate([head.inputs for head in heads]),
        elements=np.concatenate([head.elements for head in heads]),
        places=np.concatenate(places),
        padded=np.concatenate([head.padded for head in heads]),
    )


def number(value: float) -> str:
    """A number as formulas show it: six digits, in brackets where it is negative.

    Example:
        >>> number(2.0), number(-0.25)
        ('2', '(-0.25)')
    """
    text = f"{value:.6g}"
    return f"({text})" if text.startswith("-") else text
