import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.scratch.conv2d import naive_conv2d
from convolens.scratch.winograd import A_T, B_T, G, winograd_conv2d


def test_the_identity_in_one_dimension() -> None:
    """Aᵀ((G·g) ⊙ (Bᵀ·d)) is the filter at two positions, with four products."""
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal(4), rng.standard_normal(3)
    np.testing.assert_allclose(A_T @ ((G @ g) * (B_T @ d)), [d[:3] @ g, d[1:] @ g])


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
    st.integers(1, 3),
    st.integers(1, 2),
)
@settings(max_examples=60, deadline=None)
def test_it_is_the_convolution_of_the_definition(
    shape: tuple[int, int, int, int], num_filters: int, padding: int
) -> None:
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal(shape), rng.standard_normal((num_filters, shape[1], 3, 3))
    expected = naive_conv2d(x, W, padding=padding)
    np.testing.assert_allclose(winograd_conv2d(x, W, padding=padding), expected, atol=1e-12)


def test_float32_stays_float32() -> None:
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((2, 3, 9, 8)), rng.standard_normal((4, 3, 3, 3))
    out = winograd_conv2d(x.astype(np.float32), W)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, naive_conv2d(x, W), atol=1e-4)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"^F\(2×2, 3×3\) takes .* received \(1, 1, 5, 5\)$"):
        winograd_conv2d(np.ones((1, 1, 8, 8)), np.ones((1, 1, 5, 5)))
    with pytest.raises(ShapeError, match=r"^Winograd convolution on x .* 2 \+ 2·0 − 1·\(3 − 1\)"):
        winograd_conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)))
