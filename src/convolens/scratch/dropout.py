"""Dropout, in both of its forms."""

import numpy as np

from convolens.errors import ConfigError
from convolens.scratch.layer import Array, check_gradient_shape, check_input, remembered


class Dropout:
    """Each number is dropped with probability p while training; its expectation stays the same.

    Inverted, which is usual today: y = x·m/(1 − p) while training, y = x in a test. As in the
    paper: y = x·m while training, y = x·(1 − p) in a test. m is 0 with probability p and else 1,
    drawn anew for every number of every batch; dx is dy times the same factor.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), Dropout: a simple way
        to prevent neural networks from overfitting, sections 4 and 10.
    Args:
        p: probability of dropping a number, from 0 to less than 1. The paper's p is that of
            keeping it, 1 minus this one.
        rng: where m is drawn from; none draws differently each time the program runs.
        paper: scale at test time, as the paper does.
    Shape: x (N, …) -> the same
    Raises:
        ConfigError: when p is not a probability less than 1.
    Example:
        >>> layer = Dropout(0.5, rng=np.random.default_rng(0))
        >>> layer.forward(np.ones((1, 8)), training=True)
        array([[2., 2., 2., 0., 0., 0., 0., 0.]])
        >>> layer.forward(np.ones((1, 3)))
        array([[1., 1., 1.]])
        >>> Dropout(0.5, paper=True).forward(np.ones((1, 3)))
        array([[0.5, 0.5, 0.5]])
    """

    def __init__(
        self, p: float = 0.5, *, rng: np.random.Generator | None = None, paper: bool = False
    ) -> None:
        if not 0 <= p < 1:
            raise ConfigError(f"p must be at least 0 and less than 1, received {p}")
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.p, self.paper = p, paper
        self.rng = np.random.default_rng() if rng is None else rng
        self._factor: Array | float | None = None
        self._shape: tuple[int, ...] = ()

    def forward(self, x: Array, *, training: bool = False) -> Array:
        check_input(x, "dropout")
        self._shape = x.shape
        self._factor = self.factor(x) if training else (1 - self.p if self.paper else 1.0)
        out: Array = x * self._factor
        return out

    def factor(self, x: Array) -> Array:
        """m, or m/(1 − p), for every number of x."""
        kept = (self.rng.random(x.shape, np.float32) >= self.p).astype(x.dtype)
        return kept if self.paper else kept / (1 - self.p)

    def backward(self, dout: Array) -> Array:
        factor = remembered(self._factor, "dropout")
        check_gradient_shape(dout, self._shape, "dropout")
        dx: Array = dout * factor
        return dx
