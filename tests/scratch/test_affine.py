import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.scratch.affine import Affine, Flatten, naive_affine
from convolens.scratch.gradient import check_gradient


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_affine_against_torch_and_its_naive_twin(N: int, D: int, M: int, strided: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 2 * D))[:, ::2] if strided else rng.standard_normal((N, D))
    W, b, dout = rng.standard_normal((D, M)), rng.standard_normal(M), rng.standard_normal((N, M))
    layer = Affine(W, b)
    out = layer.forward(x)
    np.testing.assert_allclose(out, naive_affine(x, W, b), atol=1e-12)
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, W, b)]
    expected = F.linear(leaves[0], leaves[1].T, leaves[2])
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-12)
    expected.backward(torch.from_numpy(dout))
    mine = layer.backward(dout), layer.grads["W"], layer.grads["b"]
    for gradient, leaf in zip(mine, leaves, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-12)


def test_gradients_against_differences() -> None:
    rng = np.random.default_rng(0)
    layer = Affine(rng.standard_normal((5, 3)), rng.standard_normal(3))
    assert max(check_gradient(layer, rng.standard_normal((4, 5))).values()) < 1e-8


def test_flatten_keeps_the_order_of_memory_and_gives_the_shape_back() -> None:
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    layer = Flatten()
    out = layer.forward(x)
    assert out[0].tolist() == list(range(12))
    np.testing.assert_array_equal(layer.backward(out), x)
    np.testing.assert_array_equal(layer.forward(np.asfortranarray(x)), out)


def test_what_does_not_fit_is_named() -> None:
    layer = Affine(np.ones((4, 2)), np.ones(2))
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.ones((1, 5)))
    assert str(caught.value) == "affine with W (4, 2) reads 4 numbers, received 5 in x (1, 5)"
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.ones((1, 1, 2, 2)))
    assert str(caught.value) == (
        "affine expected x (N, 4), received the volume (1, 1, 2, 2)\n"
        "Put a Flatten before the first affine layer."
    )
    with pytest.raises(ShapeError) as caught:
        Affine(np.ones((4, 2)), np.ones(4))
    assert str(caught.value) == "W must be (D, M) and b (M,), received (4, 2) and (4,)"
