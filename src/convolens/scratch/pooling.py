"""Max and average pooling, along the rows and then along the columns.

The maximum of a window is the maximum of its rows' maxima, and so is the sum the sum of its rows'
sums: pooling by K×K is pooling by K along the width, then by K along the height, with 2K steps in
place of K². Along one axis, the pixels that tap i of every window sees are a strided slice of the
picture, x[i], x[i + S], x[i + 2S], …; the K slices are compared, or added, as whole arrays. No
window is ever copied out: a copy of all windows with argmax over its short last axis, as in the
book, takes ten times as long, most of it in getting ready for four numbers.

Going back, the two steps are undone in turn.
"""

import numpy as np

from convolens.errors import ShapeError
from convolens.scratch.im2col import check_fit, crop, pad
from convolens.scratch.layer import Array, check_gradient_shape, check_whole, remembered

WIDTH, HEIGHT = -1, -2  # axes


def taps(x: Array, axis: int, size: int, stride: int) -> list[Array]:
    """The pixels that each of the `size` taps of a window sees along an axis: views of x.

    Example:
        >>> [tap.tolist() for tap in taps(np.arange(6.0).reshape(1, 6), WIDTH, 2, 2)]
        [[[0.0, 2.0, 4.0]], [[1.0, 3.0, 5.0]]]
    """
    last = stride * ((x.shape[axis] - size) // stride)  # where the last window begins
    slices = [slice(i, i + last + 1, stride) for i in range(size)]
    return [x[..., s] if axis == WIDTH else x[..., s, :] for s in slices]


def largest(x: Array, axis: int, size: int, stride: int) -> Array:
    """The maximum of every window along an axis."""
    first, *others = taps(x, axis, size, stride)
    out = np.maximum(first, others[0]) if others else first.copy()
    for tap in others[1:]:
        np.maximum(out, tap, out=out)
    return out


def back_to_largest(x: Array, y: Array, dy: Array, axis: int, size: int, stride: int) -> Array:
    """∂L/∂x of y = largest(x): each window's gradient goes to the first tap that equals y."""
    dx = np.zeros(x.shape, dy.dtype)
    waiting = np.ones(y.shape, bool)  # windows whose winner is not found yet
    pairs = zip(taps(x, axis, size, stride), taps(dx, axis, size, stride), strict=True)
    for i, (tap, dtap) in enumerate(pairs):
        wins = (tap == y) & waiting if i < size - 1 else waiting  # who else, if it was no other
        waiting = waiting ^ wins
        if stride >= size:  # no pixel is in two windows: nothing to add to
            np.multiply(dy, wins, out=dtap)
        else:
            dtap += dy * wins
    return dx


def sums(x: Array, axis: int, size: int, stride: int) -> Array:
    """The sum of every window along an axis."""
    first, *others = taps(x, axis, size, stride)
    out = first.copy()
    for tap in others:
        out += tap
    return out


def back_to_all(dy: Array, shape: tuple[int, ...], axis: int, size: int, stride: int) -> Array:
    """∂L/∂x of y = sums(x): each window's gradient goes to all of its taps."""
    dx = np.zeros(shape, dy.dtype)
    for dtap in taps(dx, axis, size, stride):
        dtap += dy
    return dx


class MaxPooling:
    """y[n, c, y, x] = max_ij x[n, c, S·y + i − P, S·x + j − P]; the gradient goes to the winner.

    Where several pixels of a window are equal the first one wins, row by row. Padding never wins:
    it is −∞.

    Source: Saito (2016), Deep Learning from Scratch, section 7.3.
    Args:
        size: K, side of the window [px].
        stride: S; none for S = K, windows side by side. S < K makes them overlap [px].
        padding: P, at most half of K, so that every window holds a pixel [px].
    Shape: x (N, C, H, W) -> (N, C, H', W'), H' = floor((H + 2P − K)/S) + 1
    Raises:
        ShapeError: when the window does not fit, or the padding is too wide.
    Example:
        >>> layer = MaxPooling(2)
        >>> layer.forward(np.array([[[[1.0, 2, 1, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 4, 0, 1]]]]))
        array([[[[2., 3.],
                 [4., 2.]]]])
        >>> layer.backward(np.ones((1, 1, 2, 2)))[0, 0]
        array([[0., 1., 0., 0.],
               [0., 0., 0., 1.],
               [0., 0., 0., 1.],
               [0., 1., 0., 0.]])
    """

    def __init__(self, size: int, *, stride: int | None = None, padding: int = 0) -> None:
        check_padding(size, padding, "max pooling")
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.size, self.padding = size, padding
        self.stride = size if stride is None else stride
        check_whole("stride", self.stride, 1)
        self._padded: Array | None = None
        self._rows = self._y = np.empty(0)

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        check_fit(x, (self.size, self.size), self.stride, self.padding, 1, "max pooling")
        self._padded = pad(x, self.padding, -np.inf)
        self._rows = largest(self._padded, WIDTH, self.size, self.stride)
        self._y = largest(self._rows, HEIGHT, self.size, self.stride)
        return self._y

    def backward(self, dout: Array) -> Array:
        padded = remembered(self._padded, "max pooling")
        check_gradient_shape(dout, self._y.shape, "max pooling")
        K, S = self.size, self.stride
        drows = back_to_largest(self._rows, self._y, dout, HEIGHT, K, S)
        return crop(back_to_largest(padded, self._rows, drows, WIDTH, K, S), self.padding)


class AveragePooling:
    """y[n, c, y, x] = 1/K² Σ_ij x[n, c, S·y + i − P, S·x + j − P]; each pixel gets dy / K².

    Source: LeCun et al. (1998), section II.B, without its trainable coefficients.
    Args:
        size: K, side of the window [px].
        stride: S; none for S = K [px].
        padding: P, zeros that count as pixels, at most half of K [px].
    Shape: x (N, C, H, W) -> (N, C, H', W'), H' = floor((H + 2P − K)/S) + 1
    Raises:
        ShapeError: when the window does not fit, or the padding is too wide.
    Example:
        >>> AveragePooling(2).forward(np.array([[[[1.0, 2.0], [3.0, 6.0]]]]))
        array([[[[3.]]]])
    """

    def __init__(self, size: int, *, stride: int | None = None, padding: int = 0) -> None:
        check_padding(size, padding, "average pooling")
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.size, self.padding = size, padding
        self.stride = size if stride is None else stride
        check_whole("stride", self.stride, 1)
        self._shapes: tuple[tuple[int, ...], ...] | None = None

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        K, S = self.size, self.stride
        check_fit(x, (K, K), S, self.padding, 1, "average pooling")
        padded = pad(x, self.padding)
        rows = sums(padded, WIDTH, K, S)
        out = sums(rows, HEIGHT, K, S)
        out /= K * K
        self._shapes = padded.shape, rows.shape, out.shape
        return out

    def backward(self, dout: Array) -> Array:
        padded, rows, out = remembered(self._shapes, "average pooling")
        check_gradient_shape(dout, out, "average pooling")
        K, S = self.size, self.stride
        drows = back_to_all(dout / (K * K), rows, HEIGHT, K, S)
        return crop(back_to_all(drows, padded, WIDTH, K, S), self.padding)


def check_padding(size: int, padding: int, who: str) -> None:
    """Raises ShapeError when a window could hold nothing but padding."""
    check_whole("size", size, 1)
    check_whole("padding", padding, 0)
    if not 0 <= 2 * padding <= size:
        raise ShapeError(
            f"{who}: padding must be at least 0 and at most half of the window, {size}/2: "
            f"received {padding}"
        )


def naive_max_pooling(x: Array, size: int, *, stride: int | None = None, padding: int = 0) -> Array:
    """MaxPooling as the definition reads: one window at a time."""
    S, padded = size if stride is None else stride, pad(x, padding, -np.inf)
    H_out, W_out = check_fit(x, (size, size), S, padding, 1, "max pooling")
    out = np.zeros((*x.shape[:2], H_out, W_out), x.dtype)
    for n, c, row, column in np.ndindex(*out.shape):
        top, left = S * row, S * column
        out[n, c, row, column] = padded[n, c, top : top + size, left : left + size].max()
    return out


def naive_average_pooling(
    x: Array, size: int, *, stride: int | None = None, padding: int = 0
) -> Array:
    """AveragePooling as the definition reads: one window at a time."""
    S, padded = size if stride is None else stride, pad(x, padding)
    H_out, W_out = check_fit(x, (size, size), S, padding, 1, "average pooling")
    out = np.zeros((*x.shape[:2], H_out, W_out), x.dtype)
    for n, c, row, column in np.ndindex(*out.shape):
        top, left = S * row, S * column
        out[n, c, row, column] = padded[n, c, top : top + size, left : left + size].mean()
    return out
