import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.scratch.gradient import check_gradient
from convolens.scratch.pooling import (
    AveragePooling,
    MaxPooling,
    naive_average_pooling,
    naive_max_pooling,
)

SIZES = st.integers(1, 4).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(1, 5), st.integers(0, size // 2))
)
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(4, 9), st.integers(4, 9))


def picture(shape: tuple[int, ...], *, ties: bool, reversed_: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, shape).astype(np.float64) if ties else rng.standard_normal(shape)
    return np.asfortranarray(x)[:, :, ::-1] if reversed_ else x


@given(SHAPES, SIZES, st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_max_pooling_against_torch_and_its_naive_twin(
    shape: tuple[int, ...], window: tuple[int, int, int], ties: bool, reversed_: bool
) -> None:
    """With ties the gradient of the first of several maxima is compared too."""
    size, stride, padding = window
    x = picture(shape, ties=ties, reversed_=reversed_)
    layer = MaxPooling(size, stride=stride, padding=padding)
    out = layer.forward(x)
    twin = naive_max_pooling(x, size, stride=stride, padding=padding)
    np.testing.assert_array_equal(out, twin)
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    expected = F.max_pool2d(leaf, size, stride, padding)
    np.testing.assert_array_equal(out, expected.detach().numpy())
    dout = np.random.default_rng(1).standard_normal(out.shape)
    expected.backward(torch.from_numpy(dout))
    assert leaf.grad is not None
    np.testing.assert_allclose(layer.backward(dout), leaf.grad.numpy(), atol=1e-12)


@given(SHAPES, SIZES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_average_pooling_against_torch_and_its_naive_twin(
    shape: tuple[int, ...], window: tuple[int, int, int], reversed_: bool
) -> None:
    size, stride, padding = window
    x = picture(shape, ties=False, reversed_=reversed_)
    layer = AveragePooling(size, stride=stride, padding=padding)
    out = layer.forward(x)
    twin = naive_average_pooling(x, size, stride=stride, padding=padding)
    np.testing.assert_allclose(out, twin, atol=1e-12)
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    expected = F.avg_pool2d(leaf, size, stride, padding)
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-12)
    dout = np.random.default_rng(1).standard_normal(out.shape)
    expected.backward(torch.from_numpy(dout))
    assert leaf.grad is not None
    np.testing.assert_allclose(layer.backward(dout), leaf.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 3, 0)])
def test_gradients_against_differences(size: int, stride: int, padding: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6))
    for kind in (MaxPooling, AveragePooling):
        layer = kind(size, stride=stride, padding=padding)
        assert check_gradient(layer, x)["x"] < 1e-8


def test_a_map_of_zeros_sends_its_gradient_to_the_first_pixel_of_each_window() -> None:
    """Behind a ReLU whole windows are 0: a gradient shared among them would grow fourfold."""
    layer = MaxPooling(2)
    layer.forward(np.zeros((1, 1, 4, 4)))
    assert layer.backward(np.ones((1, 1, 2, 2)))[0, 0].tolist() == [
        [1, 0, 1, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    ("kind", "name"), [(MaxPooling, "max pooling"), (AveragePooling, "average pooling")]
)
def test_what_does_not_fit_is_named(
    kind: type[MaxPooling] | type[AveragePooling], name: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        kind(3).forward(np.zeros((1, 1, 2, 4)))
    assert str(caught.value) == (
        f"{name} on x (1, 1, 2, 4): a window of 3 px does not fit into 2 px with 0 px of padding: "
        "2 + 2·0 − 1·(3 − 1) − 1 = -1 < 0"
    )
    with pytest.raises(ShapeError) as caught:
        kind(3, padding=2)
    assert str(caught.value) == (
        f"{name}: padding must be at least 0 and at most half of the window, 3/2: received 2"
    )
    with pytest.raises(ShapeError, match=r"stride must be a whole number of at least 1"):
        kind(2, stride=0).forward(np.zeros((1, 1, 4, 4)))
