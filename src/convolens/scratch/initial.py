"""What the weights are before the first step: normal numbers whose spread keeps signals alive."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from convolens.errors import ConfigError

Initial = Callable[[np.random.Generator, tuple[int, ...], int, int], NDArray[np.float64]]


def gaussian(std: float) -> Initial:
    """W ~ N(0, std²), whatever the layer's size.

    Source: Saito (2016), Deep Learning from Scratch, section 6.2; 0.01 in its chapter 7.
    Args:
        std: standard deviation; at least 0.
    Returns: a function (rng, shape, fan_in, fan_out) -> array, as `xavier` and `he` are.
    Raises:
        ConfigError: when std is negative or not finite.
    Example:
        >>> W = gaussian(0.01)(np.random.default_rng(0), (400, 400), 400, 400)
        >>> round(float(W.std()), 4)
        0.01
    """
    if not (math.isfinite(std) and std >= 0):
        raise ConfigError(f"std must be a finite number of at least 0, received {std!r}")

    def draw(
        rng: np.random.Generator, shape: tuple[int, ...], _fan_in: int, _fan_out: int
    ) -> NDArray[np.float64]:
        return std * rng.standard_normal(shape)

    return draw


def xavier(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[np.float64]:
    """W ~ N(0, 2 / (fan_in + fan_out)), for sigmoid and tanh.

    Each unit adds fan_in terms going forward and fan_out going back; this spread keeps both sums
    about as large as their terms, so that neither signal fades or grows from layer to layer.

    Source: Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward
        neural networks, equation 12. With fan_in = fan_out = n it is the 1/√n of the book.
    Args:
        rng: where the numbers come from.
        shape: of the weights.
        fan_in: numbers that each unit reads; C_in·K_h·K_w for a convolution.
        fan_out: units that read each number; C_out·K_h·K_w for a convolution.
    Example:
        >>> W = xavier(np.random.default_rng(0), (400, 400), 400, 400)
        >>> round(float(W.std()) * 400**0.5, 2)
        1.0
    """
    return math.sqrt(2 / (fan_in + fan_out)) * rng.standard_normal(shape)


def he(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, _fan_out: int
) -> NDArray[np.float64]:
    """W ~ N(0, 2 / fan_in), for ReLU, which silences half of the units.

    Source: He, Zhang, Ren, Sun (2015), Delving deep into rectifiers, arXiv:1502.01852, equation
        10.
    Args:
        rng: where the numbers come from.
        shape: of the weights.
        fan_in: numbers that each unit reads.
    Example:
        >>> W = he(np.random.default_rng(0), (400, 400), 400, 400)
        >>> round(float(W.var()) * 400, 1)
        2.0
    """
    return math.sqrt(2 / fan_in) * rng.standard_normal(shape)
