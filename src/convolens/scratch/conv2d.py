"""The three sums of a convolution and of its gradients, as loops and as products of matrices.

Forward and backward are three sums over the same triples (pixel, weight, output). With
u = S·y + D·i − P and v = S·x + D·j − P, the pixel that tap (i, j) of the filter sees at (y, x),

    out[n, f, y, x]  = Σ_cij  x[n, c, u, v] · W[f, c, i, j]        conv2d
    dx[n, c, u, v]  += Σ_f    dout[n, f, y, x] · W[f, c, i, j]     conv2d_dx, for each i, j, y, x
    dW[f, c, i, j]   = Σ_nyx  dout[n, f, y, x] · x[n, c, u, v]     conv2d_dw

The second and third follow from the first by the chain rule: each product x·W hands dout·W to its
pixel and dout·x to its weight. Channels in G groups are G separate convolutions side by side.
"""

import numpy as np

from convolens.errors import ShapeError
from convolens.scratch.im2col import add_to_windows, blocks, check_fit, crop, pad, windows
from convolens.scratch.layer import Array, check_input


def conv2d(
    x: Array,
    W: Array,
    b: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """out[n, f] = b[f] + Σ_c x[n, c] ⋆ W[f, c], as the product of W's rows and im2col's columns.

    Args:
        x: the input volume.
        W: (C_out, C_in/G, K_h, K_w), the filters.
        b: (C_out,), a number added to each map.
        stride: S [px].
        padding: P, zeros at each side [px].
        dilation: D [px].
        groups: G; filter f sees only the channels of its group.
    Shape: x (N, C_in, H, W) -> (N, C_out, H', W'), H' = floor((H + 2P − D(K_h − 1) − 1)/S) + 1
    Raises:
        ShapeError: when the channels or the sizes do not fit.
    Example:
        >>> picture = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1.0]])
        >>> filters = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2.0]]).reshape(1, 1, 3, 3)
        >>> conv2d(picture.reshape(1, 1, 4, 4), filters, np.array([3.0]))[0, 0]
        array([[18., 19.],
               [ 9., 18.]])
    """
    check_filters(x, W, groups, "convolution")
    H_out, W_out = check_fit(x, W.shape[2:], stride, padding, dilation, "convolution")
    N, F, G = len(x), len(W), groups
    taps = windows(pad(x, padding), W.shape[2:], stride=stride, dilation=dilation)
    W_rows = filters_as_rows(W, G, x.dtype)
    out = np.empty((N, G, F // G, H_out * W_out), x.dtype)
    for pictures, rows in blocks(taps):
        columns = as_columns(taps[pictures, ..., rows, :], G)  # (n, G, C/G·K_h·K_w, L)
        part = out[pictures, ..., rows.start * W_out : rows.stop * W_out]  # (n, G, F/G, L)
        np.matmul(W_rows, columns, out=part)
        if b is not None:
            part += b.reshape(G, -1, 1)
    return out.reshape(N, F, H_out, W_out)


def conv2d_dx(
    dout: Array,
    W: Array,
    size: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """∂L/∂x of conv2d: Wᵀ·dout gives each window's gradient, col2im adds the windows up.

    Args:
        dout: ∂L/∂out.
        W: the filters.
        size: (H, W) of x, which the output's size alone does not tell where S > 1 [px].
        stride: S [px].
        padding: P [px].
        dilation: D [px].
        groups: G.
    Shape: dout (N, C_out, H', W') -> (N, C_in, H, W)
    """
    N, F, _, W_out = dout.shape
    C, G, (H, W_in) = W.shape[1] * groups, groups, size
    padded = np.zeros((N, C, H + 2 * padding, W_in + 2 * padding), dout.dtype)
    taps = windows(padded, W.shape[2:], stride=stride, dilation=dilation)
    W_columns = filters_as_rows(W, G, dout.dtype).swapaxes(1, 2)  # (G, C/G·K_h·K_w, F/G)
    dout = dout.reshape(N, G, F // G, -1)
    for pictures, rows in blocks(taps):
        part = dout[pictures, ..., rows.start * W_out : rows.stop * W_out]
        seen = taps[pictures, ..., rows, :]
        add_to_windows(seen, (W_columns @ part).reshape(seen.shape))
    return crop(padded, padding)


def conv2d_dw(
    x: Array,
    dout: Array,
    kernel: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """∂L/∂W of conv2d: dout times im2col's columns, transposed, summed over the pictures.

    The columns are made anew: keeping those of the forward pass would take K_h·K_w times the
    input's memory in every layer until its backward pass comes.

    Args:
        x: the input of the forward pass.
        dout: ∂L/∂out.
        kernel: (K_h, K_w) [px].
        stride: S [px].
        padding: P [px].
        dilation: D [px].
        groups: G.
    Shape: x (N, C_in, H, W), dout (N, C_out, H', W') -> (C_out, C_in/G, K_h, K_w)
    """
    (N, F, _, W_out), C, G = dout.shape, x.shape[1], groups
    taps = windows(pad(x, padding), kernel, stride=stride, dilation=dilation)
    dout = dout.reshape(N, G, F // G, -1)
    dW_rows = np.zeros((G, F // G, C // G * kernel[0] * kernel[1]), x.dtype)
    for pictures, rows in blocks(taps):
        columns = as_columns(taps[pictures, ..., rows, :], G)
        part = dout[pictures, ..., rows.start * W_out : rows.stop * W_out]
        dW_rows += (part @ columns.swapaxes(2, 3)).sum(0)
    return dW_rows.reshape(F, C // G, *kernel)


def filters_as_rows(W: Array, groups: int, dtype: np.dtype) -> Array:
    """(C_out, C_in/G, K_h, K_w) -> (G, C_out/G, C_in/G·K_h·K_w)."""
    return W.astype(dtype, copy=False).reshape(groups, len(W) // groups, -1)


def as_columns(taps: Array, groups: int) -> Array:
    """(n, C, K_h, K_w, rows, W') -> (n, G, C/G·K_h·K_w, rows·W'): here the pixels are copied.

    For 1×1 windows at stride 1 the matrix is the picture itself, and reshape copies nothing.
    """
    n, C, K_h, K_w, rows, W_out = taps.shape
    return taps.reshape(n, groups, C // groups * K_h * K_w, rows * W_out)


def check_filters(x: Array, W: Array, groups: int, who: str) -> None:
    """Raises ShapeError when x has not the channels that the filters read, or groups do not fit."""
    check_input(x, who, (4,))
    if x.shape[1] != W.shape[1] * groups:
        raise ShapeError(
            f"{who} with W {W.shape} and {groups} groups reads {W.shape[1]}·{groups} = "
            f"{W.shape[1] * groups} channels, received {x.shape[1]} in x {x.shape}"
        )
    if len(W) % groups:
        raise ShapeError(f"{groups} groups do not divide {len(W)} maps: {len(W)} / {groups}")


def naive_conv2d(
    x: Array,
    W: Array,
    b: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """conv2d as the definition reads: one number of the output at a time.

    Example:
        >>> picture = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1.0]])
        >>> filters = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2.0]]).reshape(1, 1, 3, 3)
        >>> naive_conv2d(picture.reshape(1, 1, 4, 4), filters)[0, 0]
        array([[15., 16.],
               [ 6., 15.]])
    """
    N, (F, C, K_h, K_w) = len(x), W.shape
    H_out, W_out = check_fit(x, (K_h, K_w), stride, padding, dilation, "convolution")
    padded = pad(x, padding)
    out = np.zeros((N, F, H_out, W_out), x.dtype)
    for n, f, row, column in np.ndindex(*out.shape):
        first = f // (F // groups) * C  # of the channels of f's group
        total = 0.0 if b is None else float(b[f])
        for c, i, j in np.ndindex(C, K_h, K_w):
            u, v = stride * row + dilation * i, stride * column + dilation * j
            total += float(padded[n, first + c, u, v]) * float(W[f, c, i, j])
        out[n, f, row, column] = total
    return out


def naive_conv2d_gradients(
    x: Array,
    W: Array,
    dout: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> tuple[Array, Array]:
    """(dx, dW): each product x·W hands dout·W to its pixel and dout·x to its weight."""
    F, C, K_h, K_w = W.shape
    padded = pad(x, padding)
    dpadded, dW = np.zeros_like(padded), np.zeros_like(W)
    for n, f, row, column in np.ndindex(*dout.shape):
        first = f // (F // groups) * C
        for c, i, j in np.ndindex(C, K_h, K_w):
            pixel = n, first + c, stride * row + dilation * i, stride * column + dilation * j
            dpadded[pixel] += dout[n, f, row, column] * W[f, c, i, j]
            dW[f, c, i, j] += dout[n, f, row, column] * padded[pixel]
    return crop(dpadded, padding), dW
