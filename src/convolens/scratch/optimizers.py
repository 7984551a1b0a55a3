"""Optimizers: how the weights follow the gradient, one step at a time.

Each has `update(params, grads)`, which changes the arrays of params in place, and a learning rate
`lr` that may be changed between steps. Below, g is the gradient of the loss with respect to a
weight w, and every rule holds for each weight by itself.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from convolens.errors import ConfigError, ShapeError
from convolens.scratch.layer import Array

Arrays = Mapping[str, Array]


class Optimizer(Protocol):
    """What training knows of an optimizer."""

    lr: float

    def update(self, params: Arrays, grads: Arrays) -> None:
        """One step: changes the arrays of params in place."""
        ...


class SGD:
    """w ← w − η g, straight down the slope of this batch.

    Source: Robbins and Monro (1951), A stochastic approximation method.
    Args:
        lr: η, the learning rate.
    Example:
        >>> w = {"w": np.array([1.0])}
        >>> SGD(lr=0.1).update(w, {"w": np.array([2.0])})
        >>> w["w"].tolist()
        [0.8]
    """

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = _positive("lr", lr)

    def update(self, params: Arrays, grads: Arrays) -> None:
        for _, w, g in _pairs(params, grads):
            w -= self.lr * g


class Momentum:
    """v ← μ v − η g, w ← w + v: a ball that rolls, and forgets 1 − μ of its speed each step.

    Along a valley the steps add up to 1 / (1 − μ) times η g; across it they cancel.

    Source: Polyak (1964), Some methods of speeding up the convergence of iteration methods; in
        this form Saito (2016), section 6.1.4.
    Args:
        lr: η.
        momentum: μ, at least 0 and less than 1.
    Deviates: `torch.optim.SGD` keeps u = −v / η. At a constant η the steps are the same; where η
        changes, here the speed gathered so far keeps its size, there it changes with η.
    """

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = _positive("lr", lr)
        self.momentum = _fraction("momentum", momentum)
        self.v: dict[str, Array] = {}

    def update(self, params: Arrays, grads: Arrays) -> None:
        for name, w, g in _pairs(params, grads):
            v = _memory(self.v, name, w)
            v *= self.momentum
            v -= self.lr * g
            w += v


class Nesterov:
    """v ← μ v − η g, w ← w + μ v − η g: momentum that looks ahead.

    Nesterov's method takes the gradient where the speed alone would lead, at w + μ v. This is the
    same method written for that point: what is stored as w is already the point ahead, so the
    gradient can be taken at w, as every other optimizer takes it.

    Source: Nesterov (1983); Sutskever, Martens, Dahl, Hinton (2013), On the importance of
        initialization and momentum in deep learning, equations 3 and 4; in this form Bengio,
        Boulanger-Lewandowski, Pascanu (2012), arXiv:1212.0901, equation 7.
    Args:
        lr: η.
        momentum: μ, at least 0 and less than 1.
    Deviates: as `Momentum` does, from `torch.optim.SGD(nesterov=True)` where η changes.
    """

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = _positive("lr", lr)
        self.momentum = _fraction("momentum", momentum)
        self.v: dict[str, Array] = {}

    def update(self, params: Arrays, grads: Arrays) -> None:
        for name, w, g in _pairs(params, grads):
            v = _memory(self.v, name, w)
            v *= self.momentum
            v -= self.lr * g
            w += self.momentum * v
            w -= self.lr * g


class AdaGrad:
    """h ← h + g², w ← w − η g / (√h + ε): a step of its own for each weight.

    A weight whose gradients were large takes small steps. h only grows, so the steps shrink to
    nothing in the end; `RMSprop` forgets.

    Source: Duchi, Hazan, Singer (2011), Adaptive subgradient methods, figure 1.
    Args:
        lr: η.
        eps: ε, against division by 0.
    """

    def __init__(self, lr: float = 0.01, eps: float = 1e-10) -> None:
        self.lr = _positive("lr", lr)
        self.eps = _positive("eps", eps)
        self.h: dict[str, Array] = {}

    def update(self, params: Arrays, grads: Arrays) -> None:
        for name, w, g in _pairs(params, grads):
            h = _memory(self.h, name, w)
            h += g * g
            w -= self.lr * g / (np.sqrt(h) + self.eps)


class RMSprop:
    """h ← ρ h + (1 − ρ) g², w ← w − η g / (√h + ε): AdaGrad that forgets.

    Source: Tieleman and Hinton (2012), Neural networks for machine learning, lecture 6.5.
    Args:
        lr: η.
        decay: ρ, at least 0 and less than 1; the lecture takes 0.9.
        eps: ε, against division by 0.
    """

    def __init__(self, lr: float = 0.01, decay: float = 0.99, eps: float = 1e-8) -> None:
        self.lr = _positive("lr", lr)
        self.decay = _fraction("decay", decay)
        self.eps = _positive("eps", eps)
        self.h: dict[str, Array] = {}

    def update(self, params: Arrays, grads: Arrays) -> None:
        for name, w, g in _pairs(params, grads):
            h = _memory(self.h, name, w)
            h *= self.decay
            h += (1 - self.decay) * g * g
            w -= self.lr * g / (np.sqrt(h) + self.eps)


class Adam:
    """w ← w − η m̂ / (√v̂ + ε), m̂ and v̂ the running means of g and g².

    m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g² begin at 0, so that after t steps they are too
    small by the factors 1 − β₁ᵗ and 1 − β₂ᵗ; m̂ and v̂ are m and v divided by these.

    Source: Kingma and Ba (2015), Adam: a method for stochastic optimization, arXiv:1412.6980,
        algorithm 1.
    Args:
        lr: η.
        beta1: β₁, at least 0 and less than 1.
        beta2: β₂, at least 0 and less than 1.
        eps: ε, against division by 0.
    Deviates: the book adds its ε before v is corrected, as the paper's section 2 also offers.
    """

    def __init__(
        self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ) -> None:
        self.lr = _positive("lr", lr)
        self.beta1 = _fraction("beta1", beta1)
        self.beta2 = _fraction("beta2", beta2)
        self.eps = _positive("eps", eps)
        self.t = 0
        self.m: dict[str, Array] = {}
        self.v: dict[str, Array] = {}

    def update(self, params: Arrays, grads: Arrays) -> None:
        self.t += 1
        m_scale, v_scale = 1 - self.beta1**self.t, 1 - self.beta2**self.t
        for name, w, g in _pairs(params, grads):
            m = _memory(self.m, name, w)
            v = _memory(self.v, name, w)
            m += (1 - self.beta1) * (g - m)
            v += (1 - self.beta2) * (g * g - v)
            w -= self.lr / m_scale * m / (np.sqrt(v / v_scale) + self.eps)


def _pairs(params: Arrays, grads: Arrays) -> list[tuple[str, Array, Array]]:
    """(name, w, g) for each parameter."""
    if params.keys() != grads.keys():
        names = ", ".join(sorted(params.keys() ^ grads.keys()))
        raise ShapeError(f"params and grads must have the same names; only one of them has {names}")
    for name, w in params.items():
        if w.shape != grads[name].shape:
            raise ShapeError(
                f"the gradient of {name} must have its shape {w.shape}, "
                f"received {grads[name].shape}"
            )
    return [(name, w, grads[name]) for name, w in params.items()]


def _memory(arrays: dict[str, Array], name: str, w: Array) -> Array:
    """What is remembered for a weight: zeros at first."""
    if name not in arrays:
        arrays[name] = np.zeros_like(w)
    return arrays[name]


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ConfigError(f"{name} must be greater than 0, received {value!r}")
    return value


def _fraction(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and less than 1, received {value!r}")
    return value
