"""Convolution through the Fourier transform: a product for each frequency.

What slides in space multiplies in frequency. With F the transform of a whole picture and the filter
padded with zeros to its size,

    x ⋆ W = F⁻¹( Σ_c F(x_c) · conj(F(W_c)) )

The conjugate makes it the correlation that networks call a convolution; without it the filter would
slide mirrored. The transform goes round in circles: windows that stick out at the far end see the
near end again. Those are the positions that do not fit anyhow, and they are cut off. Its cost does
not depend on the size of the filter, so it wins where filters are large.

Source: Mathieu, Henaff, LeCun (2014), Fast training of convolutional networks through FFTs,
arXiv:1312.5851.
"""

import numpy as np

from convolens.scratch.conv2d import check_filters
from convolens.scratch.im2col import check_fit, pad
from convolens.scratch.layer import Array


def fft_conv2d(x: Array, W: Array, *, padding: int = 0) -> Array:
    """conv2d of stride 1 by Fourier transforms; the result differs by rounding only.

    Args:
        x: the input volume.
        W: (C_out, C_in, K_h, K_w), the filters.
        padding: P, zeros at each side [px].
    Shape: x (N, C_in, H, W) -> (N, C_out, H + 2P − K_h + 1, W + 2P − K_w + 1)
    Raises:
        ShapeError: when the channels or the sizes do not fit.
    Example:
        >>> picture = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1.0]])
        >>> filters = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2.0]]).reshape(1, 1, 3, 3)
        >>> fft_conv2d(picture.reshape(1, 1, 4, 4), filters)[0, 0].round(9)
        array([[15., 16.],
               [ 6., 15.]])
    """
    check_filters(x, W, 1, "convolution by FFT")
    H_out, W_out = check_fit(x, W.shape[2:], 1, padding, 1, "convolution by FFT")
    padded = pad(x, padding)
    size = padded.shape[2:]
    spectrum = by_frequency(np.fft.rfft2(padded))  # (frequencies, N, C_in)
    filters = by_frequency(np.fft.rfft2(W.astype(x.dtype, copy=False), size).conj())
    product = spectrum @ filters.swapaxes(1, 2)  # (frequencies, N, C_out)
    maps = product.transpose(1, 2, 0).reshape(len(x), len(W), size[0], -1)
    out: Array = np.fft.irfft2(maps, size)[:, :, :H_out, :W_out]
    return out.astype(x.dtype, copy=False)


def by_frequency(spectrum: Array) -> Array:
    """(A, B, H, W) -> (H·W, A, B), copied so that each frequency is one matrix."""
    A, B = spectrum.shape[:2]
    return np.ascontiguousarray(spectrum.reshape(A, B, -1).transpose(2, 0, 1))
