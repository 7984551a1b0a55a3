import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.scratch.conv2d import (
    conv2d,
    conv2d_dw,
    conv2d_dx,
    naive_conv2d,
    naive_conv2d_gradients,
)
from convolens.scratch.im2col import BLOCK_BYTES


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_three_sums_against_their_naive_twins(data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 2))
    sliding = {
        "stride": data.draw(st.integers(1, 3)),
        "padding": data.draw(st.integers(0, 1)),
        "dilation": data.draw(st.integers(1, 2)),
        "groups": groups,
    }
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.standard_normal((2, 2 * groups, data.draw(st.integers(5, 7)), 5))
    W = rng.standard_normal(
        (groups * data.draw(st.integers(1, 2)), 2, 3, data.draw(st.integers(1, 3)))
    )
    b = rng.standard_normal(len(W))
    out = conv2d(x, W, b, **sliding)
    np.testing.assert_allclose(out, naive_conv2d(x, W, b, **sliding), atol=1e-12)
    dout = rng.standard_normal(out.shape)
    dx, dW = naive_conv2d_gradients(x, W, dout, **sliding)
    size, kernel = (x.shape[2], x.shape[3]), (W.shape[2], W.shape[3])
    np.testing.assert_allclose(conv2d_dx(dout, W, size, **sliding), dx, atol=1e-12)
    np.testing.assert_allclose(conv2d_dw(x, dout, kernel, **sliding), dW, atol=1e-12)


def test_what_does_not_fit_is_named() -> None:
    x = np.ones((1, 4, 5, 5))
    with pytest.raises(ShapeError, match=r"^2 groups do not divide 3 maps: 3 / 2$"):
        conv2d(x, np.ones((3, 2, 3, 3)), groups=2)
    with pytest.raises(ShapeError, match=r"^convolution with W .* reads 3·1 = 3 channels, recei"):
        conv2d(x, np.ones((3, 3, 3, 3)))


def test_the_column_matrix_is_never_whole() -> None:
    """It would take 37 MB here; besides the output there is room for a block, and its product."""
    x, W = np.ones((16, 16, 64, 64), np.float32), np.ones((2, 16, 3, 3), np.float32)
    out = conv2d(x, W)
    whole = 9 * x.nbytes
    for name, sum_ in {
        "conv2d": lambda: conv2d(x, W),
        "conv2d_dx": lambda: conv2d_dx(out, W, (64, 64)),
        "conv2d_dw": lambda: conv2d_dw(x, out, (3, 3)),
    }.items():
        tracemalloc.start()
        result = sum_()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - result.nbytes < 2.5 * BLOCK_BYTES < whole / 10, name
