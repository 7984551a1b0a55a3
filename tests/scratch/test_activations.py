from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convolens.errors import ConfigError, ShapeError
from convolens.scratch.activations import (
    ELU,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    naive_activation,
    naive_maxout,
    naive_softmax,
)
from convolens.scratch.gradient import check_gradient
from convolens.scratch.layer import Layer

SLOPE, ALPHA = 0.2, 0.7
# The layer, torch's, and the arguments of the naive twin.
ELEMENTWISE: dict[
    str, tuple[Callable[[], Layer], Callable[[Tensor], Tensor], tuple[str, float]]
] = {
    "sigmoid": (Sigmoid, torch.sigmoid, ("sigmoid", 0)),
    "tanh": (Tanh, torch.tanh, ("tanh", 0)),
    "relu": (ReLU, F.relu, ("relu", 0)),
    "leaky relu": (
        lambda: LeakyReLU(SLOPE),
        lambda x: F.leaky_relu(x, SLOPE),
        ("leaky relu", SLOPE),
    ),
    "elu": (lambda: ELU(ALPHA), lambda x: F.elu(x, ALPHA), ("elu", ALPHA)),
}
ALL: dict[str, tuple[Callable[[], Layer], Callable[[Tensor], Tensor]]] = {
    **{name: (make, twin) for name, (make, twin, _) in ELEMENTWISE.items()},
    "maxout": (lambda: Maxout(2), lambda x: x.unflatten(1, (-1, 2)).max(2).values),
    "softmax": (Softmax, lambda x: x.softmax(1)),
}
SHAPES = st.one_of(
    st.tuples(st.integers(1, 3), st.sampled_from((2, 4, 6))),
    st.tuples(st.integers(1, 3), st.sampled_from((2, 4)), st.integers(1, 4), st.integers(1, 4)),
)


@pytest.mark.parametrize("name", ALL)
@given(shape=SHAPES, scale=st.sampled_from((1.0, 30.0)), turned=st.booleans())
@settings(max_examples=25, deadline=None)
def test_values_and_gradients_against_torch(
    name: str, shape: tuple[int, ...], scale: float, turned: bool
) -> None:
    make, twin = ALL[name]
    rng = np.random.default_rng(0)
    x = scale * rng.standard_normal(shape)
    x[0, 0] = 0
    if turned:
        x = np.asfortranarray(x)[::-1]
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    layer, expected = make(), twin(leaf)
    out = layer.forward(x)
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-12, atol=1e-300)
    dout = rng.standard_normal(out.shape)
    expected.backward(torch.from_numpy(dout))
    assert leaf.grad is not None
    np.testing.assert_allclose(layer.backward(dout), leaf.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_gradients_against_differences(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    assert check_gradient(ALL[name][0](), x)["x"] < 1e-8


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_against_the_naive_twin(name: str) -> None:
    make, _, arguments = ELEMENTWISE[name]
    x = np.random.default_rng(0).standard_normal((3, 4))
    word, slope = arguments
    twin = [[naive_activation(word, float(v), slope) for v in row] for row in x]
    np.testing.assert_allclose(make().forward(x), twin, rtol=1e-12)


def test_maxout_and_softmax_against_their_naive_twins() -> None:
    x = np.random.default_rng(0).standard_normal((3, 6))
    np.testing.assert_array_equal(Maxout(3).forward(x), naive_maxout(x, 3))
    np.testing.assert_allclose(Softmax().forward(x), naive_softmax(x), rtol=1e-12)


@pytest.mark.parametrize("num_slopes", [1, 4])
@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3, 2)])
def test_prelu_against_torch_and_differences(num_slopes: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, a = rng.standard_normal(shape), rng.random(num_slopes)
    dout = rng.standard_normal(shape)
    layer = PReLU(a)
    leaves = [torch.from_numpy(v.copy()).requires_grad_() for v in (x, a)]
    expected = F.prelu(*leaves)
    np.testing.assert_allclose(layer.forward(x), expected.detach().numpy(), rtol=1e-12)
    expected.backward(torch.from_numpy(dout))
    for mine, leaf in zip((layer.backward(dout), layer.grads["a"]), leaves, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(mine, leaf.grad.numpy(), atol=1e-12)
    assert max(check_gradient(layer, x).values()) < 1e-8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALL)
def test_huge_numbers_overflow_nowhere(name: str, dtype: type) -> None:
    layer = ALL[name][0]()
    x = np.array([[-1e30, 1e30, -1e3, 1e3]], dtype)
    assert np.isfinite(layer.forward(x)).all()
    assert np.isfinite(layer.backward(np.ones_like(layer.forward(x)))).all()


def test_of_equal_pieces_the_first_gets_the_gradient() -> None:
    layer = Maxout(3)
    layer.forward(np.array([[1.0, 2.0, 2.0]]))
    assert layer.backward(np.array([[5.0]])).tolist() == [[0, 5, 0]]


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError) as caught:
        Maxout(3).forward(np.ones((1, 4)))
    assert str(caught.value) == "maxout of 3 pieces does not fit 4 channels: 4 / 3 leaves 1"
    with pytest.raises(ConfigError, match=r"^num_pieces must be at least 1, received 0$"):
        Maxout(0)
    with pytest.raises(ShapeError) as caught:
        PReLU(np.ones(3)).forward(np.ones((1, 4)))
    assert str(caught.value) == "prelu with 3 slopes received 4 channels in x (1, 4)"
    with pytest.raises(ShapeError, match=r"^a must be \(C,\) or \(1,\), received \(2, 2\)$"):
        PReLU(np.ones((2, 2)))
