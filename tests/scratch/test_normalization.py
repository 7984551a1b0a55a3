import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ConfigError, ShapeError
from convolens.scratch.gradient import check_gradient
from convolens.scratch.normalization import (
    BatchNormalization,
    LocalResponseNorm,
    naive_batch_normalization,
    naive_local_response_norm,
)

SHAPES = st.one_of(
    st.tuples(st.integers(2, 4), st.integers(1, 7)),
    st.tuples(st.integers(2, 3), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4)),
)


@given(SHAPES, st.booleans(), st.sampled_from((0.1, 0.3)), st.sampled_from((1e-5, 1e-2)))
@settings(max_examples=60, deadline=None)
def test_batch_normalization_against_torch(
    shape: tuple[int, ...], turned: bool, momentum: float, eps: float
) -> None:
    """Two batches while training, then one of a test: values, gradients and running averages."""
    rng = np.random.default_rng(0)
    C = shape[1]
    gamma, beta = rng.random(C) + 0.5, rng.standard_normal(C)
    layer = BatchNormalization(gamma, beta, momentum=momentum, eps=eps)
    mean, var = torch.zeros(C, dtype=torch.float64), torch.ones(C, dtype=torch.float64)
    for training in (True, True, False):
        x = 3 + 2 * rng.standard_normal(shape)
        if turned:
            x = np.asfortranarray(x)[:, ::-1]
        leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, gamma, beta)]
        expected = F.batch_norm(leaves[0], mean, var, leaves[1], leaves[2], training, momentum, eps)
        out = layer.forward(x, training=training)
        np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-9)
        dout = rng.standard_normal(shape)
        expected.backward(torch.from_numpy(dout))
        mine = layer.backward(dout), layer.grads["gamma"], layer.grads["beta"]
        for gradient, leaf in zip(mine, leaves, strict=True):
            assert leaf.grad is not None
            np.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-8)
    np.testing.assert_allclose(layer.running_mean, mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, var.numpy(), rtol=1e-12)


def test_batch_normalization_against_its_naive_twin() -> None:
    rng = np.random.default_rng(0)
    x, gamma, beta = rng.standard_normal((5, 3)), rng.random(3), rng.standard_normal(3)
    out = BatchNormalization(gamma, beta).forward(x, training=True)
    np.testing.assert_allclose(out, naive_batch_normalization(x, gamma, beta), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_against_differences(training: bool) -> None:
    rng = np.random.default_rng(0)
    layer = BatchNormalization(rng.random(3) + 0.5, rng.standard_normal(3))
    errors = check_gradient(layer, rng.standard_normal((2, 3, 2, 2)), training=training)
    assert max(errors.values()) < 1e-7


def test_a_channel_without_variance_becomes_beta() -> None:
    layer = BatchNormalization(np.ones(2), np.array([3.0, 4.0]))
    out = layer.forward(np.full((4, 2), 7.0), training=True)
    assert out.tolist() == [[3, 4]] * 4
    assert np.isfinite(layer.backward(np.ones((4, 2)))).all()


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from((1, 3, 5, 7)),
    st.sampled_from((0.5, 0.75, 1.0)),
)
@settings(max_examples=60, deadline=None)
def test_local_response_norm_against_torch(shape: tuple[int, ...], size: int, beta: float) -> None:
    """torch divides alpha by the size."""
    rng = np.random.default_rng(0)
    x, dout = rng.standard_normal(shape), rng.standard_normal(shape)
    layer = LocalResponseNorm(size, alpha=0.3, beta=beta, k=1.5)
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    expected = F.local_response_norm(leaf, size, 0.3 * size, beta, 1.5)
    np.testing.assert_allclose(layer.forward(x), expected.detach().numpy(), rtol=1e-10)
    expected.backward(torch.from_numpy(dout))
    assert leaf.grad is not None
    np.testing.assert_allclose(layer.backward(dout), leaf.grad.numpy(), atol=1e-12)


def test_local_response_norm_against_its_naive_twin_and_differences() -> None:
    x = np.random.default_rng(0).standard_normal((3, 7))
    layer = LocalResponseNorm(3, alpha=0.5)
    twin = naive_local_response_norm(x, 3, alpha=0.5)
    np.testing.assert_allclose(layer.forward(x), twin, rtol=1e-12)
    assert check_gradient(layer, x)["x"] < 1e-8


def test_what_does_not_fit_is_named() -> None:
    layer = BatchNormalization(np.ones(3), np.zeros(3))
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.ones((2, 4)))
    assert str(caught.value) == "batch normalization of 3 channels received 4 in x (2, 4)"
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.ones((1, 3, 1, 1)), training=True)
    assert str(caught.value) == (
        "batch normalization needs more than one number per channel to train: "
        "received 1 picture of 1 px"
    )
    with pytest.raises(ShapeError, match=r"^gamma and beta must both be \(C,\), received \(3,\)"):
        BatchNormalization(np.ones(3), np.zeros(2))
    with pytest.raises(ConfigError, match=r"^size must be odd and at least 1, received 4$"):
        LocalResponseNorm(4)
    with pytest.raises(
        ConfigError, match=r"^k must be greater than 0 and alpha at least 0, received 0"
    ):
        LocalResponseNorm(k=0)
