"""Newton's method and L-BFGS: steps that know how the slope bends, for small problems.

Both need the loss over all data at once, not over a batch: a gradient that is noisy says nothing
true about how the gradient changes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convolens.errors import DataError
from convolens.scratch.layer import Array

Function = Callable[[Array], tuple[float, Array]]  # x -> f(x), ∇f(x)
Hessian = Callable[[Array], Array]

_SUFFICIENT = 1e-4  # c₁ and c₂ of the Wolfe conditions, as in Nocedal and Wright
_CURVATURE = 0.9
_MOST_TRIALS = 60


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """Where a search ended.

    Args:
        x: the point.
        value: f(x).
        gradient: ∇f(x).
        num_steps: steps that were taken.
        converged: whether max |∇f| came below the tolerance.
    """

    x: Array
    value: float
    gradient: Array
    num_steps: int
    converged: bool


def newton(
    f: Function, hessian: Hessian, x: Array, *, tolerance: float = 1e-8, max_steps: int = 100
) -> Minimum:
    """x ← x − t H⁻¹ ∇f: each step goes to the bottom of the parabola that touches f at x.

    Where H is not positive definite the parabola has no bottom; then τ I is added to it, the
    smallest τ of a doubling sequence for which there is one. t = 1 unless that does not descend.

    Source: Nocedal and Wright (2006), Numerical optimization, algorithms 3.2 and 3.3.
    Args:
        f: gives f(x) and ∇f(x).
        hessian: gives H(x), the second derivatives.
        x: where to begin.
        tolerance: of max |∇f|.
        max_steps: the most steps.
    Shape: x (D,), ∇f (D,), H (D, D)
    Returns: where it ended, converged or not.
    Raises:
        DataError: when f is not finite at the beginning.
    Example:
        >>> bowl = lambda x: (float(x[0] ** 2 / 20 + x[1] ** 2), np.array([x[0] / 10, 2 * x[1]]))
        >>> found = newton(bowl, lambda x: np.diag([0.1, 2.0]), np.array([-7.0, 2.0]))
        >>> found.num_steps, float(np.abs(found.x).max()) < 1e-12
        (1, True)
    """
    x = np.array(x, dtype=np.float64)
    value, gradient = _first(f, x)
    for step in range(max_steps):
        if np.abs(gradient).max(initial=0.0) <= tolerance:
            return _ended(x, value, gradient, step, tolerance)
        direction = -_solve(hessian(x), gradient)
        t = _step_length(f, x, value, gradient, direction)
        if t == 0.0:
            return _ended(x, value, gradient, step, tolerance)
        x = x + t * direction
        value, gradient = f(x)
    return _ended(x, value, gradient, max_steps, tolerance)


def lbfgs(
    f: Function,
    x: Array,
    *,
    history_size: int = 10,
    tolerance: float = 1e-8,
    max_steps: int = 1000,
) -> Minimum:
    """x ← x − t H⁻¹ ∇f with H⁻¹ guessed from the last steps s and what they did to ∇f, y.

    H s ≈ y for each of them. The product H⁻¹ ∇f takes 4·history_size products of vectors, and no
    matrix is ever written down, so that it serves where H has too many numbers.

    Source: Nocedal and Wright (2006), algorithms 7.4 (two loops) and 7.5.
    Args:
        f: gives f(x) and ∇f(x).
        x: where to begin.
        history_size: steps that are remembered.
        tolerance: of max |∇f|.
        max_steps: the most steps.
    Shape: x (D,), ∇f (D,)
    Returns: where it ended, converged or not.
    Raises:
        DataError: when f is not finite at the beginning.
    Example:
        >>> bowl = lambda x: (float(x[0] ** 2 / 20 + x[1] ** 2), np.array([x[0] / 10, 2 * x[1]]))
        >>> found = lbfgs(bowl, np.array([-7.0, 2.0]))
        >>> found.converged, float(np.abs(found.x).max()) < 1e-6
        (True, True)
    """
    x = np.array(x, dtype=np.float64)
    value, gradient = _first(f, x)
    history: deque[tuple[Array, Array]] = deque(maxlen=history_size)
    for step in range(max_steps):
        if np.abs(gradient).max(initial=0.0) <= tolerance:
            return _ended(x, value, gradient, step, tolerance)
        direction = -_two_loops(history, gradient)
        t = _step_length(f, x, value, gradient, direction)
        if t == 0.0:
            return _ended(x, value, gradient, step, tolerance)
        before, x = (x, gradient), x + t * direction
        value, gradient = f(x)
        s, y = x - before[0], gradient - before[1]
        if s @ y > 0:  # the second Wolfe condition sees to it, but for rounding near the bottom
            history.append((s, y))
    return _ended(x, value, gradient, max_steps, tolerance)


def _first(f: Function, x: Array) -> tuple[float, Array]:
    value, gradient = f(x)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise DataError(f"f and its gradient must be finite where the search begins, f is {value}")
    return value, gradient


def _ended(x: Array, value: float, gradient: Array, step: int, tolerance: float) -> Minimum:
    converged = bool(np.abs(gradient).max(initial=0.0) <= tolerance)
    return Minimum(x=x, value=value, gradient=gradient, num_steps=step, converged=converged)


def _solve(hessian: Array, gradient: Array) -> Array:
    """H⁻¹ ∇f, or (H + τ I)⁻¹ ∇f where H is not positive definite."""
    scale = float(np.linalg.norm(hessian)) or 1.0
    least = float(np.diag(hessian).min())
    tau = 0.0 if least > 0 else 1e-3 * scale - least
    while True:
        shifted = hessian + tau * np.eye(len(gradient))
        try:
            root = np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            tau = max(2 * tau, 1e-3 * scale)
            continue
        solved: Array = np.linalg.solve(root.T, np.linalg.solve(root, gradient))
        return solved


def _two_loops(history: deque[tuple[Array, Array]], gradient: Array) -> Array:
    """H⁻¹ ∇f for the H⁻¹ that the history makes of γ I, γ = sᵀy / yᵀy of the last step."""
    if not history:  # nothing is known of H yet: a step of length 1 at most
        first: Array = gradient / max(1.0, float(np.linalg.norm(gradient)))
        return first
    q = gradient.copy()
    alphas = []
    for s, y in reversed(history):
        alphas.append((s @ q) / (s @ y))
        q -= alphas[-1] * y
    s, y = history[-1]
    q *= (s @ y) / (y @ y)
    for (s, y), alpha in zip(history, reversed(alphas), strict=True):
        q += (alpha - (y @ q) / (s @ y)) * s
    return q


def _step_length(f: Function, x: Array, value: float, gradient: Array, direction: Array) -> float:
    """A t for which f falls enough, and its slope too: the Wolfe conditions, by bisection.

    0 where none is found, which happens at the limits of rounding. Source: Lewis and Overton
    (2013), Nonsmooth optimization via quasi-Newton methods, algorithm 4.6.
    """
    slope = float(gradient @ direction)
    # Near the bottom f falls by less than its last digit, and only its slope still tells the way.
    rounding = 4 * float(np.finfo(np.float64).eps) * abs(value)
    low, high, t = 0.0, float("inf"), 1.0
    for _ in range(_MOST_TRIALS):
        there, gradient_there = f(x + t * direction)
        if not there <= value + _SUFFICIENT * t * slope + rounding:  # also where it is NaN
            high = t
        elif gradient_there @ direction < _CURVATURE * slope:
            low = t
        else:
            return t
        t = (low + high) / 2 if np.isfinite(high) else 2 * low
    return low
