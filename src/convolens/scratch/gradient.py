"""Gradients by differences, and the check of a layer's backward pass against them."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np

from convolens.errors import DataError
from convolens.scratch.layer import Array, Layer

# The error of the formula grows with h², that of rounding with 1/h; in float64 their sum is
# least near the cube root of the rounding error, 6e-6, for numbers about 1.
STEP = 1e-5


def numerical_gradient(f: Callable[[Array], float], x: Array, *, h: float = STEP) -> Array:
    """∂f/∂x_i ≈ (f(x + h e_i) − f(x − h e_i)) / 2h, one element after the other.

    Slow, 2 calls of f for each element, and simple enough to be believed: what the backward pass
    is checked against.

    Source: Saito (2016), Deep Learning from Scratch, section 4.4.
    Args:
        f: of an array, to a number.
        x: float64, of any shape; f sees it changed by h in one place, and it is given back as it
            was.
        h: the step.
    Returns: the gradient, with the shape of x.
    Raises:
        DataError: when x is not float64, whose digits the difference needs.
    Example:
        >>> bowl = lambda x: float(x[0] ** 2 + x[1] ** 2)
        >>> numerical_gradient(bowl, np.array([3.0, 4.0])).round(6)
        array([6., 8.])
    """
    if x.dtype != np.float64:
        raise DataError(
            f"a numerical gradient needs float64, received {x.dtype}",
            "float32 has 7 digits, and the difference of two numbers that agree in 5 has 2 left.",
        )
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + h
        above = f(x)
        x[index] = kept - h
        below = f(x)
        x[index] = kept
        gradient[index] = (above - below) / (2 * h)
    return gradient


def check_gradient(
    layer: Layer, x: Array, *, training: bool = False, h: float = STEP, seed: int = 0
) -> dict[str, float]:
    """The error of a layer's backward pass, ‖a − n‖ / (‖a‖ + ‖n‖), a its gradient, n the numerical.

    The layer is asked for the gradients of L = Σ dout · forward(x) for a random dout, with
    respect to x and to each of its parameters. A right one is near 1e-9, a wrong one near 1. Where
    the layer has a kink (a ReLU at 0, a tie in max-pooling) within h of x, the two may differ.

    Args:
        layer: any; it is left as it was, since every call is made to a copy of it. So a layer
            that draws random numbers draws the same ones each time.
        x: an input, small, since every element takes two forward passes.
        training: whether the forward pass is that of training.
        h: the step of the differences.
        seed: of dout.
    Returns: the relative error for "x" and for each name of `layer.params`; 0 where both
        gradients are 0.
    """
    # Whatever holds one of these arrays, the copy holds its float64 twin in that place.
    layer = deepcopy(layer, {id(p): p.astype(np.float64) for p in layer.params.values()})
    x = np.array(x, dtype=np.float64)
    ran = deepcopy(layer)
    out = ran.forward(x, training=training)
    dout = np.random.default_rng(seed).standard_normal(out.shape)
    analytic = {"x": ran.backward(dout), **ran.grads}

    def objective(_: Array) -> float:
        return float((deepcopy(layer).forward(x, training=training) * dout).sum())

    return {
        name: _relative_error(analytic[name], numerical_gradient(objective, value, h=h))
        for name, value in {"x": x, **layer.params}.items()
    }


def _relative_error(a: Array, n: Array) -> float:
    size = float(np.linalg.norm(a) + np.linalg.norm(n))
    return float(np.linalg.norm(a - n)) / size if size else 0.0
