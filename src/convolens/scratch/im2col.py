"""A convolution as a product of matrices: the windows of a picture, written as columns.

Every position of a window becomes one column, every tap of the window (channel, row, column of the
filter) one row:

    picture (C, H, W)                     columns (C·K_h·K_w, H'·W')
    a b c d                               a b c e f g   tap (0, 0) at each of the six positions
    e f g h    window 2×2, stride 1  →    b c d f g h   tap (0, 1)
    i j k l                               e f g i j k   tap (1, 0)
                                          f g h j k l   tap (1, 1)

A filter is one row of C·K_h·K_w weights, so filters (F, C·K_h·K_w) times columns gives all
positions of all F maps at once: (F, H'·W'), which is the output volume as it lies in memory.

Source: Chellapilla, Puri, Simard (2006), High performance convolutional neural networks for
document processing; Saito (2016), Deep Learning from Scratch, section 7.4.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convolens.errors import ShapeError
from convolens.geometry import output_size
from convolens.scratch.layer import Array, check_input

# A column matrix repeats each pixel K_h·K_w times: for 100 pictures through VGG's second layer it
# would take 11 GB. It is never needed whole. Cut into blocks of this size it stays in the L2 cache
# of a core between being written by im2col and being read by the product, so memory is bounded and
# the product also runs faster than it would on one large matrix.
BLOCK_BYTES = 1 << 20


def pad(x: Array, padding: int, value: float = 0.0) -> Array:
    """x with `padding` pixels of `value` on each side of its last two axes; x itself for none."""
    if padding == 0:
        return x
    *outer, H, W = x.shape
    padded = np.full((*outer, H + 2 * padding, W + 2 * padding), value, x.dtype)
    crop(padded, padding)[...] = x
    return padded


def crop(padded: Array, padding: int) -> Array:
    """The picture inside its padding: a view."""
    H, W = padded.shape[-2:]
    return padded[..., padding : H - padding, padding : W - padding]


def windows(x: Array, kernel: tuple[int, int], *, stride: int = 1, dilation: int = 1) -> Array:
    """w[n, c, i, j, y, x] = x[n, c, S·y + D·i, S·x + D·j]: a view, no number is copied.

    Read, it gives what each tap (i, j) sees at every position. Written to, it reaches back into
    the picture. Several elements of the view are the same pixel, so sums are added to it tap by
    tap, where no two positions coincide.

    Args:
        x: the picture, padded already.
        kernel: (K_h, K_w) [px].
        stride: S, the step from one position to the next [px].
        dilation: D, the distance between neighbouring taps [px].
    Shape: x (N, C, H, W) -> (N, C, K_h, K_w, H', W'), H' = floor((H − D(K_h − 1) − 1)/S) + 1
    Example:
        >>> picture = np.arange(9.0).reshape(1, 1, 3, 3)
        >>> windows(picture, (2, 2))[0, 0, 1, 1]  # the last tap, at the four positions
        array([[4., 5.],
               [7., 8.]])
    """
    reach = [dilation * (k - 1) + 1 for k in kernel]
    every = sliding_window_view(x, reach, axis=(2, 3), writeable=x.flags.writeable)
    return every[:, :, ::stride, ::stride, ::dilation, ::dilation].transpose(0, 1, 4, 5, 2, 3)


def im2col(
    x: Array, kernel: tuple[int, int], *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """The windows of each picture as a matrix with one column per position.

    The book stacks positions as rows, and all pictures in one matrix; this one is that, transposed,
    picture by picture. Then rows are copied in runs of W' neighbouring pixels, and the product is
    the output as it lies in memory.

    Args:
        x: the pictures.
        kernel: (K_h, K_w) [px].
        stride: S [px].
        padding: P, zeros added at each side [px].
        dilation: D [px].
    Shape: x (N, C, H, W) -> (N, C·K_h·K_w, H'·W')
    Raises:
        ShapeError: when the window does not fit.
    Example:
        The worked example of the notes: a picture of 4×4 and a filter of 3×3, whose first sum is
        1·2 + 2·0 + 3·1 + 0·0 + 1·1 + 2·2 + 3·1 + 0·0 + 1·2 = 15.

        >>> picture = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1.0]])
        >>> x, W_row = picture.reshape(1, 1, 4, 4), np.array([[2, 0, 1, 0, 1, 2, 1, 0, 2.0]])
        >>> columns = im2col(x, (3, 3))
        >>> columns.shape
        (1, 9, 4)
        >>> columns[0, :, 0]
        array([1., 2., 3., 0., 1., 2., 3., 0., 1.])
        >>> (W_row @ columns).reshape(2, 2)
        array([[15., 16.],
               [ 6., 15.]])

        With one pixel of padding the output keeps the picture's size.

        >>> (W_row @ im2col(x, (3, 3), padding=1)).reshape(4, 4)
        array([[ 7., 12., 10.,  2.],
               [ 4., 15., 16., 10.],
               [10.,  6., 15.,  6.],
               [ 8., 10.,  4.,  3.]])
    """
    check_fit(x, kernel, stride, padding, dilation, "im2col")
    taps = windows(pad(x, padding), kernel, stride=stride, dilation=dilation)
    N, C, K_h, K_w, *_ = taps.shape
    return taps.reshape(N, C * K_h * K_w, -1)


def col2im(
    columns: Array,
    size: tuple[int, int],
    kernel: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Adds every column back to the pixels that it was read from: the transpose of im2col.

    A pixel that m windows saw receives m numbers and holds their sum, as the gradient of a number
    that was used m times is the sum of m gradients.

    Args:
        columns: (N, C·K_h·K_w, H'·W').
        size: (H, W) of the pictures [px].
        kernel: (K_h, K_w) [px].
        stride: S [px].
        padding: P; what falls on it is dropped [px].
        dilation: D [px].
    Shape: columns (N, C·K_h·K_w, H'·W') -> (N, C, H, W)
    Raises:
        ShapeError: when the matrix is not the one that im2col makes of such pictures.
    Example:
        >>> ones = np.ones((1, 4, 4))  # four taps, four positions
        >>> col2im(ones, (3, 3), (2, 2))[0, 0]
        array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]])
    """
    H, W = size
    K_h, K_w = kernel
    H_out = output_size(H, K_h, stride=stride, padding=padding, dilation=dilation)
    W_out = output_size(W, K_w, stride=stride, padding=padding, dilation=dilation)
    N, rows, positions = columns.shape
    if rows % (K_h * K_w) or positions != H_out * W_out:
        raise ShapeError(
            f"columns of {K_h}×{K_w} windows in {H}×{W} px are (N, C·{K_h * K_w}, "
            f"{H_out}·{W_out} = {H_out * W_out}), received {columns.shape}"
        )
    C = rows // (K_h * K_w)
    padded = np.zeros((N, C, H + 2 * padding, W + 2 * padding), columns.dtype)
    taps = windows(padded, kernel, stride=stride, dilation=dilation)
    add_to_windows(taps, columns.reshape(taps.shape))
    return crop(padded, padding)


def add_to_windows(taps: Array, values: Array) -> None:
    """taps += values, where `taps` is a view by `windows` whose pixels occur in several windows."""
    for i, j in np.ndindex(*taps.shape[2:4]):
        taps[:, :, i, j] += values[:, :, i, j]


def blocks(taps: Array) -> Iterator[tuple[slice, slice]]:
    """Pictures and output rows to take at a time, so that their columns fill BLOCK_BYTES at most.

    Small pictures go several at a time; of a large one a few rows of the output at a time, and one
    row where even that is more.

    Example:
        >>> taps = windows(np.zeros((40, 1, 28, 28)), (5, 5))  # 115,200 bytes a picture
        >>> [p.stop - p.start for p, rows in blocks(taps)]
        [9, 9, 9, 9, 4]
    """
    N, H_out = taps.shape[0], taps.shape[4]
    picture_bytes = taps.nbytes // N
    num_pictures = max(1, BLOCK_BYTES // picture_bytes)
    num_rows = max(1, min(H_out, BLOCK_BYTES * H_out // picture_bytes))
    for n in range(0, N, num_pictures):
        for row in range(0, H_out, num_rows):
            yield slice(n, min(n + num_pictures, N)), slice(row, min(row + num_rows, H_out))


def check_fit(
    x: Array, kernel: tuple[int, int], stride: int, padding: int, dilation: int, who: str
) -> tuple[int, int]:
    """The output size (H', W'); raises ShapeError with the arithmetic where there is none."""
    check_input(x, who, (4,))
    try:
        H_out, W_out = (
            output_size(size, k, stride=stride, padding=padding, dilation=dilation)
            for size, k in zip(x.shape[2:], kernel, strict=True)
        )
    except ShapeError as error:
        raise ShapeError(f"{who} on x {x.shape}: {error.message}") from error
    return H_out, W_out
