import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ConvolensError, DataError, ShapeError
from convolens.scratch.gradient import numerical_gradient
from convolens.scratch.losses import (
    Loss,
    SoftmaxWithLoss,
    SquaredError,
    SVMLoss,
    naive_softmax_loss,
    naive_squared_error,
    naive_svm_loss,
)

LOSSES = {"softmax loss": SoftmaxWithLoss, "svm loss": SVMLoss, "squared error": SquaredError}


def one_hot(t: np.ndarray, K: int) -> np.ndarray:
    return np.eye(K)[t]


def in_torch(name: str, scores: torch.Tensor, t: np.ndarray) -> torch.Tensor:
    labels = torch.from_numpy(t)
    if name == "softmax loss":
        return F.cross_entropy(scores, labels)
    if name == "svm loss":  # torch divides by the number of classes as well
        return F.multi_margin_loss(scores, labels) * scores.shape[1]
    return F.mse_loss(scores, torch.from_numpy(one_hot(t, scores.shape[1]))) * scores.shape[1] / 2


@pytest.mark.parametrize("name", LOSSES)
@given(N=st.integers(1, 5), K=st.integers(1, 6), scale=st.sampled_from((1.0, 100.0)))
@settings(max_examples=30, deadline=None)
def test_values_and_gradients_against_torch(name: str, N: int, K: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    scores, t = scale * rng.standard_normal((N, K)), rng.integers(0, K, N)
    loss: Loss = LOSSES[name]()
    leaf = torch.from_numpy(scores.copy()).requires_grad_()
    expected = in_torch(name, leaf, t)
    assert np.isclose(loss.forward(scores, t), expected.item(), rtol=1e-12)
    expected.backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(loss.backward(), leaf.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_differences(name: str) -> None:
    rng = np.random.default_rng(0)
    scores, t = rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
    loss: Loss = LOSSES[name]()
    numerical = numerical_gradient(lambda s: LOSSES[name]().forward(s, t), scores)
    loss.forward(scores, t)
    np.testing.assert_allclose(loss.backward(), numerical, atol=1e-9)


def test_against_the_naive_twins() -> None:
    rng = np.random.default_rng(0)
    scores, t = rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
    rows = one_hot(t, 5)
    assert np.isclose(SoftmaxWithLoss().forward(scores, t), naive_softmax_loss(scores, t))
    assert np.isclose(SVMLoss(0.5).forward(scores, t), naive_svm_loss(scores, t, 0.5))
    assert np.isclose(SquaredError().forward(scores, rows), naive_squared_error(scores, rows))


@pytest.mark.parametrize("name", LOSSES)
def test_one_hot_rows_are_labels(name: str) -> None:
    rng = np.random.default_rng(0)
    scores, t = rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
    loss, other = LOSSES[name](), LOSSES[name]()
    assert loss.forward(scores, t) == other.forward(scores, one_hot(t, 5))
    np.testing.assert_array_equal(loss.backward(), other.backward())


def test_a_certain_mistake_has_a_finite_loss() -> None:
    loss = SoftmaxWithLoss()
    scores = np.array([[1e4, -1e4]], np.float32)
    assert loss.forward(scores, np.array([1])) == 2e4
    assert loss.backward().tolist() == [[1, -1]]
    assert loss.backward().dtype == np.float32


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_wrong_is_named(name: str) -> None:
    def error(scores: np.ndarray, t: np.ndarray) -> str:
        with pytest.raises((ShapeError, DataError)) as caught:
            LOSSES[name]().forward(scores, t)
        return str(caught.value)

    scores = np.zeros((2, 3))
    assert error(scores, np.array([0, 3])) == "labels must be 0 to 2, received 3 for picture 1"
    assert error(scores, np.array([-1, 0])) == "labels must be 0 to 2, received -1 for picture 0"
    assert error(scores, np.array([0.0, 1.0])) == "labels must be integers, received float64"
    assert error(scores, np.array([0, 1, 2])) == (
        "t must be (2,), a label for each row of scores, received (3,)"
    )
    assert error(scores[:0], np.zeros(0, int)) == f"{name} received an empty batch: (0, 3)"
    assert error(scores.astype(int), np.array([0, 1])).startswith(
        f"{name} expected float32 or float64, received int64"
    )
    broken = scores.copy()
    broken[1, 2] = np.nan
    assert error(broken, np.array([0, 1])) == (
        f"{name} received NaN: the score of class 2 for picture 1 of the batch\n"
        "A learning rate that is too large, or a NaN in a picture, ends so."
    )
    with pytest.raises(ConvolensError, match=f"^{name} has nothing to go back from"):
        LOSSES[name]().backward()


def test_rows_that_are_not_one_hot_are_named() -> None:
    with pytest.raises(DataError, match=r"^one-hot t must hold a single 1 in each row, and zeros$"):
        SoftmaxWithLoss().forward(np.zeros((1, 2)), np.array([[0.5, 0.5]]))
    with pytest.raises(ShapeError, match=r"^one-hot t must be \(1, 2\) like the scores"):
        SVMLoss().forward(np.zeros((1, 2)), np.array([[0, 0, 1]]))
    with pytest.raises(ShapeError, match=r"^squared error expected t \(1, 2\), received \(2, 1\)$"):
        SquaredError().forward(np.zeros((1, 2)), np.zeros((2, 1)))
    with pytest.raises(DataError, match=r"^squared error expected numbers in t, received NaN"):
        SquaredError().forward(np.zeros((1, 2)), np.array([[np.nan, 0]]))


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SVMLoss()])
def test_an_infinite_score_is_named(loss: SoftmaxWithLoss | SVMLoss) -> None:
    scores = np.zeros((2, 3))
    scores[1, 2] = np.inf
    with pytest.raises(DataError, match="received infinity: the score of class 2 for picture 1"):
        loss.forward(scores, np.array([0, 1]))
