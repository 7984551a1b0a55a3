import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.scratch.conv2d import naive_conv2d
from convolens.scratch.fft import fft_conv2d


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
    st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
    st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_it_is_the_convolution_of_the_definition(
    shape: tuple[int, int, int, int], filters: tuple[int, int, int], padding: int
) -> None:
    F, K_h, K_w = filters
    K_h, K_w = min(K_h, shape[2] + 2 * padding), min(K_w, shape[3] + 2 * padding)
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal(shape), rng.standard_normal((F, shape[1], K_h, K_w))
    expected = naive_conv2d(x, W, padding=padding)
    np.testing.assert_allclose(fft_conv2d(x, W, padding=padding), expected, atol=1e-12)


def test_float32_stays_float32() -> None:
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((2, 3, 9, 9)), rng.standard_normal((4, 3, 5, 5))
    out = fft_conv2d(x.astype(np.float32), W)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, naive_conv2d(x, W), atol=1e-4)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"^convolution by FFT on x .* 4 \+ 2·0 − 1·\(5 − 1\) − 1"):
        fft_conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 5, 5)))
    with pytest.raises(ShapeError, match=r"^convolution by FFT with W .* received 2 in x"):
        fft_conv2d(np.ones((1, 2, 4, 4)), np.ones((1, 1, 3, 3)))
