"""Losses: scores and labels in, one number out; backward gives ∂L/∂scores.

A loss is the mean over the pictures of a batch, so its gradient does not grow with the batch. Here
alone a layer looks for NaN: every number of the network ends in the scores, of which there are few,
so one look finds what a look in each layer would cost a pass over every volume to find.
"""

import math
from typing import Protocol

import numpy as np

from convolens.errors import DataError, ShapeError
from convolens.scratch.activations import softmax
from convolens.scratch.layer import Array, check_input, remembered


class Loss(Protocol):
    """What the last layer's scores cost, given what the pictures show."""

    def forward(self, scores: Array, t: Array) -> float:
        """The loss, averaged over the pictures."""
        ...

    def backward(self) -> Array:
        """∂L/∂scores."""
        ...


class SoftmaxWithLoss:
    """L = −1/N Σ_n log p[n, t_n], p = softmax(scores); ∂L/∂scores = (p − onehot(t)) / N.

    Source: Saito (2016), Deep Learning from Scratch, section 5.6.3 and appendix A.
    Args:
        scores: of `forward`, (N, K).
        t: of `forward`, labels (N,) from 0 to K − 1, or one-hot rows (N, K).
    Returns: the loss; chance among K classes is log K.
    Raises:
        ShapeError: when scores and t do not fit.
        DataError: when a score is NaN, or a label is not one of the classes.
    Example:
        >>> loss = SoftmaxWithLoss()
        >>> round(loss.forward(np.zeros((5, 10)), np.arange(5)), 4)  # log 10
        2.3026
        >>> loss.backward()[0, :3]
        array([-0.18,  0.02,  0.02])
    """

    def __init__(self) -> None:
        self._scores: Array | None = None
        self._labels = np.empty(0, np.intp)

    def forward(self, scores: Array, t: Array) -> float:
        check_scores(scores, "softmax loss")
        self._scores, self._labels = scores, class_labels(t, scores)
        # log p = s − log Σ e^s with the largest s at 0: also a p that rounds to 0 has a log.
        s = scores - scores.max(1, keepdims=True)
        log_p = s[np.arange(len(s)), self._labels] - np.log(np.exp(s).sum(1))
        return float(-log_p.mean())

    def backward(self) -> Array:
        scores = remembered(self._scores, "softmax loss")
        dscores = softmax(scores)
        dscores[np.arange(len(scores)), self._labels] -= 1
        return dscores / len(scores)


class SVMLoss:
    """L = 1/N Σ_n Σ_(j≠t_n) max(0, s_nj − s_n,t_n + Δ): every wrong class at least Δ below.

    ∂L/∂s_nj is 1/N for each wrong class within the margin, and minus their number over N for the
    right one.

    Source: CS231n, Linear classification (Weston and Watkins, 1999).
    Args:
        margin: Δ.
        scores: of `forward`, (N, K).
        t: of `forward`, labels (N,) from 0 to K − 1, or one-hot rows (N, K).
    Raises:
        ShapeError: when scores and t do not fit.
        DataError: when a score is NaN, or a label is not one of the classes.
    Example:
        >>> SVMLoss().forward(np.array([[3.0, 5.0, -1.5]]), np.array([0]))  # max(0, 5 − 3 + 1)
        3.0
    """

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = margin
        self._excess: Array | None = None
        self._labels = np.empty(0, np.intp)

    def forward(self, scores: Array, t: Array) -> float:
        check_scores(scores, "svm loss")
        self._labels = class_labels(t, scores)
        pictures = np.arange(len(scores))
        excess = np.maximum(0, scores - scores[pictures, self._labels, None] + self.margin)
        excess[pictures, self._labels] = 0
        self._excess = excess
        return float(excess.sum() / len(scores))

    def backward(self) -> Array:
        excess = remembered(self._excess, "svm loss")
        dscores = (excess > 0).astype(excess.dtype)
        dscores[np.arange(len(excess)), self._labels] = -dscores.sum(1)
        return dscores / len(excess)


class SquaredError:
    """L = 1/(2N) Σ_nk (s_nk − t_nk)²; ∂L/∂s = (s − t) / N.

    Source: Saito (2016), Deep Learning from Scratch, section 4.2.1, averaged over the pictures.
    Args:
        scores: of `forward`, (N, K).
        t: of `forward`, the numbers wanted (N, K), or labels (N,), which stand for one-hot rows.
    Raises:
        ShapeError: when scores and t do not fit.
        DataError: when a score is NaN, or a label is not one of the classes.
    Example:
        >>> SquaredError().forward(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
        2.0
    """

    def __init__(self) -> None:
        self._difference: Array | None = None

    def forward(self, scores: Array, t: Array) -> float:
        check_scores(scores, "squared error")
        if t.ndim == 1:
            t = np.eye(scores.shape[1], dtype=scores.dtype)[class_labels(t, scores)]
        if t.shape != scores.shape:
            raise ShapeError(f"squared error expected t {scores.shape}, received {t.shape}")
        if not np.isfinite(t).all():
            raise DataError("squared error expected numbers in t, received NaN or infinity")
        self._difference = scores - t.astype(scores.dtype, copy=False)
        return float((self._difference**2).sum() / (2 * len(scores)))

    def backward(self) -> Array:
        difference = remembered(self._difference, "squared error")
        return difference / len(difference)


def check_scores(scores: Array, who: str) -> None:
    """Raises what is wrong with the scores; NaN is named with the picture it occurs in."""
    check_input(scores, who, (2,))
    if not np.isfinite(scores).all():
        n, k = np.argwhere(~np.isfinite(scores))[0]
        found = "NaN" if np.isnan(scores[n, k]) else "infinity"
        raise DataError(
            f"{who} received {found}: the score of class {k} for picture {n} of the batch",
            "A learning rate that is too large, or a NaN in a picture, ends so.",
        )


def class_labels(t: Array, scores: Array) -> Array:
    """t as labels (N,), of labels or of one-hot rows; raises what is wrong with it."""
    N, K = scores.shape
    if t.ndim == 2:
        if t.shape != (N, K):
            raise ShapeError(f"one-hot t must be ({N}, {K}) like the scores, received {t.shape}")
        if not ((t == 0) | (t == 1)).all() or not (t.sum(1) == 1).all():
            raise DataError("one-hot t must hold a single 1 in each row, and zeros")
        labels: Array = t.argmax(1)
        return labels
    if t.shape != (N,):
        raise ShapeError(f"t must be ({N},), a label for each row of scores, received {t.shape}")
    if not np.issubdtype(t.dtype, np.integer):
        raise DataError(f"labels must be integers, received {t.dtype}")
    if t.min() < 0 or t.max() >= K:
        wrong = int(np.argmax((t < 0) | (t >= K)))
        raise DataError(f"labels must be 0 to {K - 1}, received {t[wrong]} for picture {wrong}")
    return t.astype(np.intp, copy=False)


def naive_softmax_loss(scores: Array, t: Array) -> float:
    """SoftmaxWithLoss of labels (N,), picture by picture."""
    total = 0.0
    for n in range(len(scores)):
        total -= math.log(math.exp(scores[n, t[n]]) / sum(math.exp(s) for s in scores[n]))
    return total / len(scores)


def naive_svm_loss(scores: Array, t: Array, margin: float = 1.0) -> float:
    """SVMLoss of labels (N,), class by class."""
    total = 0.0
    for n, k in np.ndindex(*scores.shape):
        if k != t[n]:
            total += max(0.0, float(scores[n, k] - scores[n, t[n]] + margin))
    return total / len(scores)


def naive_squared_error(scores: Array, t: Array) -> float:
    """SquaredError of rows (N, K), number by number."""
    total = 0.0
    for n, k in np.ndindex(*scores.shape):
        total += float(scores[n, k] - t[n, k]) ** 2 / 2
    return total / len(scores)
