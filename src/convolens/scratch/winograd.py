"""Winograd's convolution F(2×2, 3×3): four outputs from sixteen products instead of thirty-six.

In one dimension two neighbouring outputs of a filter (g0, g1, g2) on the pixels d0…d3 are

    y0 = d0·g0 + d1·g1 + d2·g2 = m1 + m2 + m3      m1 = (d0 − d2)·g0
    y1 = d1·g0 + d2·g1 + d3·g2 = m2 − m3 − m4      m2 = (d1 + d2)·(g0 + g1 + g2)/2
                                                   m3 = (d2 − d1)·(g0 − g1 + g2)/2
                                                   m4 = (d1 − d3)·g2

which are four products instead of six; the sums of g are made once per filter. As matrices,
y = Aᵀ((G·g) ⊙ (Bᵀ·d)); in two dimensions the same is done to rows and to columns:
Y = Aᵀ((G·g·Gᵀ) ⊙ (Bᵀ·d·B))·A. Summed over channels, each of the 16 products becomes a product of
matrices (F, C)·(C, tiles).

Source: Winograd (1980), Arithmetic complexity of computations; Lavin and Gray (2015), Fast
algorithms for convolutional neural networks, arXiv:1509.09308, section 4.1.
"""

import numpy as np

from convolens.errors import ShapeError
from convolens.scratch.conv2d import check_filters
from convolens.scratch.im2col import check_fit, pad, windows
from convolens.scratch.layer import Array

B_T = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A_T = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def winograd_conv2d(x: Array, W: Array, *, padding: int = 0) -> Array:
    """conv2d of 3×3 filters and stride 1 by F(2×2, 3×3); the result differs by rounding only.

    Args:
        x: the input volume.
        W: (C_out, C_in, 3, 3), the filters.
        padding: P, zeros at each side [px].
    Shape: x (N, C_in, H, W) -> (N, C_out, H + 2P − 2, W + 2P − 2)
    Raises:
        ShapeError: when the filters are not 3×3, or the channels or the sizes do not fit.
    Example:
        >>> picture = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1.0]])
        >>> filters = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2.0]]).reshape(1, 1, 3, 3)
        >>> winograd_conv2d(picture.reshape(1, 1, 4, 4), filters)[0, 0]
        array([[15., 16.],
               [ 6., 15.]])
    """
    check_filters(x, W, 1, "Winograd convolution")
    if W.shape[2:] != (3, 3):
        raise ShapeError(f"F(2×2, 3×3) takes filters (F, C, 3, 3), received {W.shape}")
    H_out, W_out = check_fit(x, (3, 3), 1, padding, 1, "Winograd convolution")
    # A tile makes two rows and two columns; an odd output gets one more, cut off at the end.
    even = [(0, 0), (0, 0), (0, H_out % 2), (0, W_out % 2)]
    tiles = windows(np.pad(pad(x, padding), even), (4, 4), stride=2)  # (N, C, 4, 4, rows, columns)
    N, C, _, _, rows, columns = tiles.shape
    d = tiles.transpose(2, 3, 1, 0, 4, 5).reshape(4, 4, -1)
    g = W.transpose(2, 3, 0, 1).astype(x.dtype).reshape(3, 3, -1)
    V = both_sides(B_T, d).reshape(4, 4, C, -1)
    U = both_sides(G, g).reshape(4, 4, len(W), C)
    Y = both_sides(A_T, (U @ V).reshape(4, 4, -1))  # (2, 2, C_out·N·rows·columns)
    Y = Y.reshape(2, 2, len(W), N, rows, columns).transpose(3, 2, 4, 0, 5, 1)
    return Y.reshape(N, len(W), 2 * rows, 2 * columns)[:, :, :H_out, :W_out]


def both_sides(M: Array, tiles: Array) -> Array:
    """M·tile·Mᵀ for tiles (a, a, …) that lie along the last axis: (a, a, T) -> (b, b, T)."""
    a, T = tiles.shape[0], tiles.shape[2]
    M = M.astype(tiles.dtype)
    rows = (M @ tiles.reshape(a, a * T)).reshape(len(M), a, T)
    out: Array = M @ rows  # for each row, over the columns
    return out
