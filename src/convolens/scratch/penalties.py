"""Penalties: a price on large weights, added to the loss."""

import math
from collections.abc import Callable

import numpy as np

from convolens.errors import ConfigError
from convolens.scratch.layer import Array

Penalty = Callable[[Array], tuple[float, Array]]


def l1(strength: float) -> Penalty:
    """R(w) = λ Σ|w|, which pulls every weight to 0 with the same force, and leaves many there.

    Source: Tibshirani (1996), Regression shrinkage and selection via the lasso, section 2.
    Args:
        strength: λ; at least 0.
    Returns: a function of the weights that gives R and ∂R/∂w = λ sign(w), taken as 0 at w = 0.
    Raises:
        ConfigError: when the strength is negative or not finite.
    Example:
        >>> value, gradient = l1(0.5)(np.array([3.0, 0.0, -4.0]))
        >>> value, gradient.tolist()
        (3.5, [0.5, 0.0, -0.5])
    """
    return elastic(strength, 0.0)


def l2(strength: float) -> Penalty:
    """R(w) = λ/2 Σw², which pulls every weight to 0 with a force that grows with it.

    Source: Saito (2016), Deep Learning from Scratch, section 6.4.1, weight decay.
    Args:
        strength: λ; at least 0.
    Returns: a function of the weights that gives R and ∂R/∂w = λ w.
    Raises:
        ConfigError: when the strength is negative or not finite.
    Example:
        >>> value, gradient = l2(0.5)(np.array([3.0, 0.0, -4.0]))
        >>> value, gradient.tolist()
        (6.25, [1.5, 0.0, -2.0])
    """
    return elastic(0.0, strength)


def elastic(l1_strength: float, l2_strength: float) -> Penalty:
    """R(w) = λ₁ Σ|w| + λ₂/2 Σw², both at once: sparse, and alike for weights that go together.

    Source: Zou and Hastie (2005), Regularization and variable selection via the elastic net,
        section 2.
    Args:
        l1_strength: λ₁; at least 0.
        l2_strength: λ₂; at least 0.
    Returns: a function of the weights that gives R and ∂R/∂w = λ₁ sign(w) + λ₂ w.
    Raises:
        ConfigError: when a strength is negative or not finite.
    Example:
        >>> elastic(1.0, 2.0)(np.array([3.0, -4.0]))[0]
        32.0
    """
    for name, strength in (("l1", l1_strength), ("l2", l2_strength)):
        if not (math.isfinite(strength) and strength >= 0):
            raise ConfigError(
                f"the strength of {name} must be a finite number of at least 0, "
                f"received {strength!r}"
            )

    def penalty(w: Array) -> tuple[float, Array]:
        value = l1_strength * np.abs(w).sum() + l2_strength / 2 * np.square(w).sum()
        return float(value), l1_strength * np.sign(w) + l2_strength * w

    return penalty


def is_weight(name: str) -> bool:
    """Whether a parameter of this dotted name is a weight W: biases, scales and shifts go free.

    Example:
        >>> is_weight("conv1.W"), is_weight("conv1.b"), is_weight("bn1.gamma")
        (True, False, False)
    """
    return name.rpartition(".")[2] == "W"
