import numpy as np
import pytest

from convolens.errors import DataError
from convolens.scratch import activations
from convolens.scratch.affine import Affine, Flatten
from convolens.scratch.chain import Chain, Residual
from convolens.scratch.convolution import Convolution, TransposedConvolution
from convolens.scratch.dropout import Dropout
from convolens.scratch.gradient import check_gradient, numerical_gradient
from convolens.scratch.losses import SoftmaxWithLoss, SquaredError, SVMLoss
from convolens.scratch.normalization import BatchNormalization, LocalResponseNorm
from convolens.scratch.pooling import AveragePooling, MaxPooling

rng = np.random.default_rng(0)
normal = rng.standard_normal
# One of each layer, with an input that keeps its distance from every kink.
LAYERS = {
    "convolution": (
        Convolution(normal((4, 2, 3, 2)), normal(4), stride=2, padding=1),
        (2, 2, 5, 4),
    ),
    "grouped": (Convolution(normal((4, 1, 2, 2)), groups=2, dilation=2), (2, 2, 5, 4)),
    "transposed": (TransposedConvolution(normal((2, 3, 2, 3)), normal(3), stride=2), (2, 2, 3, 2)),
    "affine": (Affine(normal((6, 3)), normal(3)), (2, 6)),
    "flatten": (Flatten(), (2, 2, 3, 3)),
    "max pooling": (MaxPooling(3, stride=2, padding=1), (2, 2, 5, 4)),
    "average pooling": (AveragePooling(3, stride=2, padding=1), (2, 2, 5, 4)),
    "sigmoid": (activations.Sigmoid(), (3, 5)),
    "tanh": (activations.Tanh(), (3, 5)),
    "relu": (activations.ReLU(), (3, 5)),
    "leaky relu": (activations.LeakyReLU(0.1), (3, 5)),
    "prelu": (activations.PReLU(normal(5)), (3, 5)),
    "elu": (activations.ELU(0.7), (3, 5)),
    "maxout": (activations.Maxout(3), (2, 6, 2, 2)),
    "softmax": (activations.Softmax(), (3, 5)),
    "batch norm": (BatchNormalization(normal(2), normal(2)), (3, 2, 2, 2)),
    "response norm": (LocalResponseNorm(3, alpha=0.5, k=1.0), (2, 5, 2, 2)),
    "dropout": (Dropout(0.4, rng=np.random.default_rng(1)), (3, 5)),
    "paper dropout": (Dropout(0.4, rng=np.random.default_rng(1), paper=True), (3, 5)),
    "chain": (Chain({"fc": Affine(normal((5, 4)), normal(4)), "act": activations.Tanh()}), (3, 5)),
    "residual": (
        Residual(
            {"conv": Convolution(normal((3, 2, 3, 3)), padding=1), "act": activations.Tanh()},
            {"conv": Convolution(normal((3, 2, 1, 1)))},
        ),
        (2, 2, 3, 3),
    ),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_passes(name: str, training: bool) -> None:
    layer, shape = LAYERS[name]
    x = np.random.default_rng(2).standard_normal(shape)
    errors = check_gradient(layer, x, training=training)
    assert errors.keys() == {"x", *layer.params}
    assert max(errors.values()) < 1e-7, errors


class Wrong(activations.Tanh):
    """A backward pass without the square."""

    def backward(self, dout: np.ndarray) -> np.ndarray:
        return dout * (1 - self._y)


def test_a_wrong_backward_pass_is_found() -> None:
    assert check_gradient(Wrong(), normal((3, 5)))["x"] > 0.01


def test_the_layer_is_left_as_it_was_and_float32_is_checked_in_float64() -> None:
    layer = BatchNormalization(np.ones(2, np.float32), np.zeros(2, np.float32))
    errors = check_gradient(layer, normal((4, 2)).astype(np.float32), training=True)
    assert max(errors.values()) < 1e-7
    assert layer.params["gamma"].dtype == np.float32
    assert layer.running_mean.tolist() == [0.0, 0.0]
    assert layer.grads == {}


@pytest.mark.parametrize(
    ("loss", "t"),
    [
        (SoftmaxWithLoss(), np.array([0, 2, 1])),
        (SVMLoss(), np.array([0, 2, 1])),
        (SquaredError(), normal((3, 4))),
    ],
)
def test_losses_agree_with_the_differences(loss, t: np.ndarray) -> None:
    scores = normal((3, 4))
    loss.forward(scores, t)
    numerical = numerical_gradient(lambda s: loss.forward(s, t), scores.copy())
    loss.forward(scores, t)
    np.testing.assert_allclose(loss.backward(), numerical, atol=1e-8)


def test_float32_is_refused_with_the_reason() -> None:
    with pytest.raises(DataError) as error:
        numerical_gradient(lambda x: float(x.sum()), np.ones(3, np.float32))
    assert str(error.value).splitlines() == [
        "a numerical gradient needs float64, received float32",
        "float32 has 7 digits, and the difference of two numbers that agree in 5 has 2 left.",
    ]


def test_the_input_is_given_back_as_it_was() -> None:
    x = normal((2, 3))
    kept = x.copy()
    numerical_gradient(lambda a: float((a**3).sum()), x)
    np.testing.assert_array_equal(x, kept)
