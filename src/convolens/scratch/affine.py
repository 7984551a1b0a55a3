"""The affine layer, and the flattening that stands before the first one."""

import math

import numpy as np

from convolens.errors import ShapeError
from convolens.scratch.layer import Array, check_gradient_shape, check_input, remembered


class Affine:
    """y = x·W + b; dx = dy·Wᵀ, dW = xᵀ·dy, db = Σ_n dy_n.

    Each gradient is the only product of the two arrays at hand that has the shape it must have.

    Source: Saito (2016), Deep Learning from Scratch, section 5.6.
    Args:
        W: (D, M), a column of weights for each unit.
        b: (M,).
    Shape: x (N, D) -> (N, M)
    Raises:
        ShapeError: when the arrays or x do not fit.
    Example:
        >>> layer = Affine(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, 0.5]))
        >>> layer.forward(np.array([[1.0, 1.0]]))
        array([[4.5, 6.5]])
        >>> layer.backward(np.array([[1.0, 0.0]]))
        array([[1., 3.]])
    """

    def __init__(self, W: Array, b: Array) -> None:
        if W.ndim != 2 or b.shape != W.shape[1:]:
            raise ShapeError(f"W must be (D, M) and b (M,), received {W.shape} and {b.shape}")
        self.params: dict[str, Array] = {"W": W, "b": b}
        self.grads: dict[str, Array] = {}
        self._x: Array | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        W, b = self.params["W"], self.params["b"]
        if x.ndim == 4:
            raise ShapeError(
                f"affine expected x (N, {len(W)}), received the volume {x.shape}",
                "Put a Flatten before the first affine layer.",
            )
        check_input(x, "affine", (2,))
        if x.shape[1] != len(W):
            raise ShapeError(
                f"affine with W {W.shape} reads {len(W)} numbers, received {x.shape[1]} "
                f"in x {x.shape}"
            )
        self._x = x
        out: Array = x @ W.astype(x.dtype, copy=False)
        out += b
        return out

    def backward(self, dout: Array) -> Array:
        self.backward_params(dout)
        W = self.params["W"].astype(dout.dtype, copy=False)
        dx: Array = dout @ W.T
        return dx

    def backward_params(self, dout: Array) -> None:
        """The half of `backward` that fills `grads`, all that a network's first layer needs."""
        x = remembered(self._x, "affine")
        check_gradient_shape(dout, (len(x), len(self.params["b"])), "affine")
        self.grads["W"] = x.T @ dout
        self.grads["b"] = dout.sum(0)


class Flatten:
    """(N, C, H, W) -> (N, C·H·W): the numbers of each picture in one row, channel by channel.

    Example:
        >>> Flatten().forward(np.zeros((100, 30, 12, 12))).shape
        (100, 4320)
    """

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self._shape: tuple[int, ...] | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "flatten")
        self._shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dout: Array) -> Array:
        shape = remembered(self._shape, "flatten")
        check_gradient_shape(dout, (shape[0], math.prod(shape[1:])), "flatten")
        return dout.reshape(shape)


def naive_affine(x: Array, W: Array, b: Array) -> Array:
    """y[n, m] = Σ_d x[n, d]·W[d, m] + b[m], one number at a time."""
    out = np.zeros((len(x), W.shape[1]), x.dtype)
    for n, m in np.ndindex(*out.shape):
        out[n, m] = sum(x[n, d] * W[d, m] for d in range(len(W))) + b[m]
    return out
