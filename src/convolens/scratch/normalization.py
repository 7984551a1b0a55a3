"""Batch normalisation and local response normalisation."""

import math

import numpy as np

from convolens.errors import ConfigError, ShapeError
from convolens.scratch.layer import Array, check_gradient_shape, check_input, remembered


class BatchNormalization:
    """y = γ·x̂ + β, x̂ = (x − μ)/√(σ² + ε), per channel; μ and σ² of the batch while training.

    In a test the running averages take the place of μ and σ², so that a picture's answer does not
    depend on its neighbours. Of the variance they hold the unbiased one, M/(M − 1)·σ², as PyTorch.

    Going back, μ and σ² hang on every x of the channel too. With M numbers in a channel:

        dβ = Σ dy,   dγ = Σ dy·x̂,   dx = γ/√(σ² + ε) · (dy − dβ/M − x̂·dγ/M)

    the last two terms being the mean of dy and its part along x̂, which the layer removed from x.

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, algorithms 1 and 2.
    Args:
        gamma: (C,), γ; ones to begin with.
        beta: (C,), β; zeros to begin with.
        momentum: the part of a batch in the running averages.
        eps: ε.
    Shape: x (N, C) or (N, C, H, W) -> the same
    Raises:
        ShapeError: when x has not C channels, or one number per channel while training.
    Example:
        >>> layer = BatchNormalization(np.ones(1), np.zeros(1), eps=0.0)
        >>> layer.forward(np.array([[1.0], [3.0]]), training=True)
        array([[-1.],
               [ 1.]])
        >>> layer.running_mean, layer.running_var  # 0.9·0 + 0.1·2 and 0.9·1 + 0.1·2
        (array([0.2]), array([1.1]))
    """

    def __init__(
        self, gamma: Array, beta: Array, *, momentum: float = 0.1, eps: float = 1e-5
    ) -> None:
        if gamma.ndim != 1 or gamma.shape != beta.shape:
            raise ShapeError(
                f"gamma and beta must both be (C,), received {gamma.shape} and {beta.shape}"
            )
        self.params: dict[str, Array] = {"gamma": gamma, "beta": beta}
        self.grads: dict[str, Array] = {}
        self.momentum, self.eps = momentum, eps
        self.running_mean, self.running_var = np.zeros_like(gamma), np.ones_like(gamma)
        self._normalized: Array | None = None  # x̂
        self._inverse_std = np.empty(0)
        self._shape: tuple[int, ...] = ()
        self._training = False

    def forward(self, x: Array, *, training: bool = False) -> Array:
        check_input(x, "batch normalization", (2, 4))
        gamma = self.params["gamma"]
        if x.shape[1] != len(gamma):
            raise ShapeError(
                f"batch normalization of {len(gamma)} channels received {x.shape[1]} in x {x.shape}"
            )
        flat = x.reshape(*x.shape[:2], -1)  # (N, C, H·W)
        if training:
            mean, var = self.batch_statistics(flat)
        else:
            mean, var = self.running_mean, self.running_var
        self._inverse_std = column(1 / np.sqrt(var + self.eps), x)
        normalized = (flat - column(mean, x)) * self._inverse_std
        self._normalized, self._shape, self._training = normalized, x.shape, training
        out: Array = normalized * column(gamma, x) + column(self.params["beta"], x)
        return out.reshape(x.shape)

    def batch_statistics(self, flat: Array) -> tuple[Array, Array]:
        """μ and σ² of each channel of (N, C, H·W); the running averages take their part."""
        count = flat.shape[0] * flat.shape[2]
        if count < 2:
            raise ShapeError(
                "batch normalization needs more than one number per channel to train: "
                f"received {flat.shape[0]} picture of {flat.shape[2]} px"
            )
        mean, var = flat.mean((0, 2)), flat.var((0, 2))
        m = self.momentum
        self.running_mean = (1 - m) * self.running_mean + m * mean
        self.running_var = (1 - m) * self.running_var + m * var * count / (count - 1)
        return mean, var

    def backward(self, dout: Array) -> Array:
        normalized = remembered(self._normalized, "batch normalization")
        check_gradient_shape(dout, self._shape, "batch normalization")
        flat = dout.reshape(normalized.shape)
        dbeta, dgamma = flat.sum((0, 2)), (flat * normalized).sum((0, 2))
        self.grads["beta"], self.grads["gamma"] = dbeta, dgamma
        scale = column(self.params["gamma"], dout) * self._inverse_std
        if self._training:
            count = normalized.shape[0] * normalized.shape[2]
            flat = flat - column(dbeta / count, dout) - normalized * column(dgamma / count, dout)
        dx: Array = flat * scale
        return dx.reshape(dout.shape)


def column(values: Array, x: Array) -> Array:
    """(C,) -> (C, 1) in the dtype of x, so that it runs along the channels of (N, C, L)."""
    return values.astype(x.dtype, copy=False).reshape(-1, 1)


class LocalResponseNorm:
    """y_i = x_i / s_i^β, s_i = k + α Σ_j x_j², j over the `size` channels centred on i.

    x_j stands in the denominators of all its neighbours, so going back sums over them once more:
    dx_j = dy_j·s_j^−β − 2αβ·x_j Σ_i dy_i·x_i·s_i^−(β+1).

    Source: Krizhevsky, Sutskever, Hinton (2012), ImageNet classification with deep convolutional
        neural networks, section 3.3.
    Args:
        size: n, channels in the sum, odd; fewer at the first and last channels.
        alpha: α. PyTorch and Caffe divide theirs by n: their alpha is n times this one.
        beta: β.
        k: k, greater than 0.
    Shape: x (N, C, …) -> (N, C, …)
    Raises:
        ConfigError: when the size is even or less than 1, k is not positive or alpha negative.
    Example:
        >>> LocalResponseNorm(3, alpha=1.0, beta=1.0, k=1.0).forward(np.ones((1, 4)))
        array([[0.33333333, 0.25      , 0.25      , 0.33333333]])
    """

    def __init__(
        self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
    ) -> None:
        if size < 1 or size % 2 == 0:
            raise ConfigError(f"size must be odd and at least 1, received {size}")
        if k <= 0 or alpha < 0:
            raise ConfigError(
                f"k must be greater than 0 and alpha at least 0, received {k} and {alpha}"
            )
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self._x: Array | None = None
        self._s = np.empty(0)

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_input(x, "local response norm")
        self._x, self._s = x, self.k + self.alpha * over_neighbours(x * x, self.size)
        out: Array = x * self._s**-self.beta
        return out

    def backward(self, dout: Array) -> Array:
        x, s = remembered(self._x, "local response norm"), self._s
        check_gradient_shape(dout, x.shape, "local response norm")
        direct = dout * s**-self.beta
        across = over_neighbours(direct * x / s, self.size)
        dx: Array = direct - 2 * self.alpha * self.beta * x * across
        return dx


def over_neighbours(x: Array, size: int) -> Array:
    """Σ_j x_j over the `size` channels centred on each."""
    total = x.copy()
    for distance in range(1, min(size // 2, x.shape[1] - 1) + 1):
        total[:, distance:] += x[:, :-distance]
        total[:, :-distance] += x[:, distance:]
    return total


def naive_batch_normalization(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> Array:
    """BatchNormalization of (N, C) while training, one channel at a time."""
    out = np.zeros_like(x)
    for c in range(x.shape[1]):
        values = [float(x[n, c]) for n in range(len(x))]
        mean = sum(values) / len(values)
        var = sum((v - mean) ** 2 for v in values) / len(values)
        for n, v in enumerate(values):
            out[n, c] = gamma[c] * (v - mean) / math.sqrt(var + eps) + beta[c]
    return out


def naive_local_response_norm(
    x: Array, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Array:
    """LocalResponseNorm of (N, C), one number at a time."""
    (N, C), half = x.shape, size // 2
    out = np.zeros_like(x)
    for n, i in np.ndindex(N, C):
        s = k
        for j in range(max(0, i - half), min(C - 1, i + half) + 1):
            s += alpha * x[n, j] ** 2
        out[n, i] = x[n, i] / s**beta
    return out
