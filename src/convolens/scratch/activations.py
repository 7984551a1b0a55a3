"""Activations: functions of single numbers, of neighbouring channels, or of all classes."""

import math

import numpy as np

from convolens.errors import ConfigError, ShapeError
from convolens.scratch.layer import Array, check_gradient_shape, check_input, remembered


class Sigmoid:
    """y = 1/(1 + e^−x); dx = dy · y(1 − y), at most a quarter of dy.

    Source: Saito (2016), Deep Learning from Scratch, section 5.5.2.
    Example:
        >>> Sigmoid().forward(np.array([[-1000.0, 0.0, 1000.0]]))
        array([[0. , 0.5, 1. ]])
    """

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self._y: Array | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "sigmoid")
        # e^−|x| never overflows; for x < 0 the fraction is multiplied through by e^x.
        e = np.exp(-np.abs(x))
        self._y = np.where(x >= 0, 1, e) / (1 + e)
        return self._y

    def backward(self, dout: Array) -> Array:
        y = remembered(self._y, "sigmoid")
        check_gradient_shape(dout, y.shape, "sigmoid")
        dx: Array = dout * y * (1 - y)
        return dx


class Tanh:
    """y = tanh x; dx = dy · (1 − y²).

    Example:
        >>> layer = Tanh()
        >>> layer.forward(np.array([[0.0, 100.0]]))
        array([[0., 1.]])
        >>> layer.backward(np.array([[1.0, 1.0]]))
        array([[1., 0.]])
    """

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self._y: Array | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "tanh")
        self._y = np.tanh(x)
        return self._y

    def backward(self, dout: Array) -> Array:
        y = remembered(self._y, "tanh")
        check_gradient_shape(dout, y.shape, "tanh")
        dx: Array = dout * (1 - y * y)
        return dx


class ReLU:
    """y = max(x, 0); dx = dy where x > 0, and 0 elsewhere.

    Source: Nair and Hinton (2010), Rectified linear units improve restricted Boltzmann machines.
    Example:
        >>> layer = ReLU()
        >>> layer.forward(np.array([[-2.0, 0.0, 3.0]]))
        array([[0., 0., 3.]])
        >>> layer.backward(np.array([[1.0, 1.0, 1.0]]))
        array([[0., 0., 1.]])
    """

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self._x: Array | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "relu")
        self._x = x
        return np.maximum(x, 0)

    def backward(self, dout: Array) -> Array:
        x = remembered(self._x, "relu")
        check_gradient_shape(dout, x.shape, "relu")
        # A product with 0 and 1 is several times faster than np.where, whose branches a
        # processor guesses wrong half of the time.
        return dout * (x > 0)


class LeakyReLU:
    """y = max(x, 0) + slope · min(x, 0); dx = dy where x > 0, and slope · dy elsewhere.

    Source: Maas, Hannun, Ng (2013), Rectifier nonlinearities improve neural network acoustic
        models.
    Args:
        slope: of the line left of 0.
    Example:
        >>> LeakyReLU(0.1).forward(np.array([[-2.0, 3.0]]))
        array([[-0.2,  3. ]])
    """

    def __init__(self, slope: float = 0.01) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.slope = slope
        self._x: Array | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "leaky relu")
        self._x = x
        return np.maximum(x, 0) + self.slope * np.minimum(x, 0)

    def backward(self, dout: Array) -> Array:
        x = remembered(self._x, "leaky relu")
        check_gradient_shape(dout, x.shape, "leaky relu")
        return np.where(x > 0, dout, self.slope * dout)


class PReLU:
    """y = max(x, 0) + a · min(x, 0) with a learned a per channel; da = Σ dy · min(x, 0).

    Source: He, Zhang, Ren, Sun (2015), arXiv:1502.01852, section 2.1.
    Args:
        a: (C,), or (1,) for one slope that all channels share; the paper begins at 0.25.
    Shape: x (N, C, …) -> (N, C, …)
    Raises:
        ShapeError: when x has not the channels of a.
    Example:
        >>> layer = PReLU(np.array([0.25]))
        >>> layer.forward(np.array([[-2.0, 3.0]]))
        array([[-0.5,  3. ]])
        >>> layer.backward(np.array([[1.0, 1.0]])), layer.grads["a"]
        (array([[0.25, 1.  ]]), array([-2.]))
    """

    def __init__(self, a: Array) -> None:
        if a.ndim != 1 or len(a) == 0:
            raise ShapeError(f"a must be (C,) or (1,), received {a.shape}")
        self.params: dict[str, Array] = {"a": a}
        self.grads: dict[str, Array] = {}
        self._x: Array | None = None

    def slopes(self, x: Array) -> Array:
        """a, shaped so that it runs along the channels of x."""
        return self.params["a"].astype(x.dtype, copy=False).reshape(-1, *[1] * (x.ndim - 2))

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "prelu")
        if len(self.params["a"]) not in (1, x.shape[1]):
            raise ShapeError(
                f"prelu with {len(self.params['a'])} slopes received {x.shape[1]} channels "
                f"in x {x.shape}"
            )
        self._x = x
        out: Array = np.maximum(x, 0) + self.slopes(x) * np.minimum(x, 0)
        return out

    def backward(self, dout: Array) -> Array:
        x = remembered(self._x, "prelu")
        check_gradient_shape(dout, x.shape, "prelu")
        da = (dout * np.minimum(x, 0)).sum(tuple(axis for axis in range(x.ndim) if axis != 1))
        self.grads["a"] = da if len(self.params["a"]) == len(da) else da.sum(keepdims=True)
        return np.where(x > 0, dout, self.slopes(x) * dout)


class ELU:
    """y = x where x > 0 and α(e^x − 1) elsewhere; dx = dy, or dy · (y + α).

    Source: Clevert, Unterthiner, Hochreiter (2016), arXiv:1511.07289, section 3.
    Args:
        alpha: α; −α is the value far left of 0.
    Example:
        >>> ELU().forward(np.array([[-1000.0, 0.0, 3.0]]))
        array([[-1.,  0.,  3.]])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.alpha = alpha
        self._x: Array | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "elu")
        self._x = x
        # min(x, 0): np.where evaluates both sides, and e^x of a large x would overflow.
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def backward(self, dout: Array) -> Array:
        x = remembered(self._x, "elu")
        check_gradient_shape(dout, x.shape, "elu")
        return np.where(x > 0, dout, dout * self.alpha * np.exp(np.minimum(x, 0)))


class Maxout:
    """y_i = max_j x_(k·i + j), j in 0…k−1: the largest of k neighbouring channels.

    Behind an affine layer or a convolution of k·m units it makes m units, each the maximum of k
    affine functions: a convex function whose shape is learned. The gradient goes to the channel
    that won, the first one where several are equal.

    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio (2013), arXiv:1302.4389, section 2.
    Args:
        num_pieces: k.
    Shape: x (N, k·m, …) -> (N, m, …)
    Raises:
        ConfigError: when k is less than 1.
        ShapeError: when k does not divide the channels.
    Example:
        >>> Maxout(2).forward(np.array([[1.0, 5.0, 7.0, 2.0]]))
        array([[5., 7.]])
    """

    def __init__(self, num_pieces: int) -> None:
        if num_pieces < 1:
            raise ConfigError(f"num_pieces must be at least 1, received {num_pieces}")
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.num_pieces = num_pieces
        self._shape: tuple[int, ...] | None = None
        self._winner = np.empty(0, np.intp)

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "maxout")
        (N, C, *rest), k = x.shape, self.num_pieces
        if C % k:
            raise ShapeError(
                f"maxout of {k} pieces does not fit {C} channels: {C} / {k} leaves {C % k}"
            )
        pieces = x.reshape(N, C // k, k, *rest)
        self._shape, self._winner = x.shape, np.expand_dims(pieces.argmax(2), 2)
        out: Array = np.take_along_axis(pieces, self._winner, 2).squeeze(2)
        return out

    def backward(self, dout: Array) -> Array:
        N, C, *rest = remembered(self._shape, "maxout")
        k = self.num_pieces
        check_gradient_shape(dout, (N, C // k, *rest), "maxout")
        dpieces = np.zeros((N, C // k, k, *rest), dout.dtype)
        np.put_along_axis(dpieces, self._winner, np.expand_dims(dout, 2), 2)
        return dpieces.reshape(N, C, *rest)


class Softmax:
    """y_k = e^x_k / Σ_j e^x_j over axis 1; dx = y · (dy − Σ_j dy_j·y_j).

    Source: Saito (2016), Deep Learning from Scratch, section 3.5.
    Shape: x (N, K, …) -> (N, K, …)
    Example:
        >>> Softmax().forward(np.array([[1000.0, 1000.0]]))
        array([[0.5, 0.5]])
    """

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self._y: Array | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "softmax")
        self._y = softmax(x)
        return self._y

    def backward(self, dout: Array) -> Array:
        y = remembered(self._y, "softmax")
        check_gradient_shape(dout, y.shape, "softmax")
        dx: Array = y * (dout - (dout * y).sum(1, keepdims=True))
        return dx


def softmax(x: Array) -> Array:
    """e^x / Σ e^x along axis 1. A constant taken off every x cancels, so the largest may be 0."""
    e = np.exp(x - x.max(1, keepdims=True))
    out: Array = e / e.sum(1, keepdims=True)
    return out


def naive_activation(name: str, x: float, slope: float = 0.0) -> float:
    """Sigmoid, tanh, ReLU, leaky ReLU or ELU of one number, as the definition reads."""
    if name == "sigmoid":
        return 1 / (1 + math.exp(-x))
    if name == "tanh":
        return (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))
    if x > 0:
        return x
    return slope * (math.exp(x) - 1) if name == "elu" else slope * x


def naive_maxout(x: Array, num_pieces: int) -> Array:
    """Maxout of (N, C), one unit at a time."""
    k = num_pieces
    out = np.zeros((len(x), x.shape[1] // k), x.dtype)
    for n, unit in np.ndindex(*out.shape):
        out[n, unit] = max(x[n, k * unit + j] for j in range(k))
    return out


def naive_softmax(x: Array) -> Array:
    """Softmax of (N, K), one probability at a time."""
    out = np.zeros_like(x)
    for n, k in np.ndindex(*x.shape):
        out[n, k] = math.exp(x[n, k]) / sum(math.exp(x[n, j]) for j in range(x.shape[1]))
    return out
