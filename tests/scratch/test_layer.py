import numpy as np
import pytest

from convolens.errors import ConvolensError, DataError, ShapeError
from convolens.scratch.activations import (
    ELU,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from convolens.scratch.affine import Affine, Flatten
from convolens.scratch.convolution import Convolution, TransposedConvolution
from convolens.scratch.dropout import Dropout
from convolens.scratch.layer import Layer
from convolens.scratch.normalization import BatchNormalization, LocalResponseNorm
from convolens.scratch.pooling import AveragePooling, MaxPooling


def layers(dtype: type = np.float64) -> dict[str, Layer]:
    """Every layer, for x (N, 4, 4, 4) or, where a layer takes rows, (N, 4)."""
    W = np.random.default_rng(0).standard_normal((4, 4, 2, 2)).astype(dtype)
    ones = np.ones(4, dtype)
    return {
        "convolution": Convolution(W, ones),
        "transposed convolution": TransposedConvolution(W, ones),
        "max pooling": MaxPooling(2),
        "average pooling": AveragePooling(2),
        "affine": Affine(W[0, :, 0], ones[:2]),
        "flatten": Flatten(),
        "sigmoid": Sigmoid(),
        "tanh": Tanh(),
        "relu": ReLU(),
        "leaky relu": LeakyReLU(),
        "prelu": PReLU(ones / 4),
        "elu": ELU(),
        "maxout": Maxout(2),
        "softmax": Softmax(),
        "batch normalization": BatchNormalization(ones, ones),
        "local response norm": LocalResponseNorm(),
        "dropout": Dropout(0.5, rng=np.random.default_rng(0)),
    }


def input_of(name: str, num_pictures: int = 3) -> np.ndarray:
    shape = (num_pictures, 4) if name == "affine" else (num_pictures, 4, 4, 4)
    return np.random.default_rng(1).standard_normal(shape)


@pytest.mark.parametrize("name", layers())
def test_an_answer_has_the_dtype_of_the_question(name: str) -> None:
    for params, asked in ((np.float32, np.float32), (np.float64, np.float32)):
        layer = layers(params)[name]
        x = input_of(name).astype(asked)
        out = layer.forward(x, training=True)
        assert out.dtype == asked
        assert layer.backward(np.ones_like(out)).dtype == asked
        assert {g.dtype for g in layer.grads.values()} <= {np.dtype(asked)}
        assert layer.forward(x).dtype == asked


@pytest.mark.parametrize("name", layers())
def test_neither_pass_changes_its_argument(name: str) -> None:
    layer, x = layers()[name], input_of(name)
    x.flags.writeable = False
    dout = np.ones_like(layer.forward(x, training=True))
    dout.flags.writeable = False
    assert layer.backward(dout).shape == x.shape
    assert layer.grads.keys() == layer.params.keys()
    assert all(layer.grads[k].shape == layer.params[k].shape for k in layer.params)


@pytest.mark.parametrize("name", layers())
def test_two_answers_are_two_arrays(name: str) -> None:
    layer = layers()[name]
    first = layer.forward(input_of(name))
    kept = first.copy()
    layer.forward(2 * input_of(name))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", layers())
def test_bytes_are_named(name: str) -> None:
    layer = layers()[name]
    with pytest.raises(DataError) as caught:
        layer.forward(input_of(name).astype(np.uint8))
    assert str(caught.value) == (
        f"{name} expected float32 or float64, received uint8\n"
        "Pictures of bytes become floats by x.astype(np.float32) / 255."
    )


@pytest.mark.parametrize("name", layers())
def test_an_empty_batch_is_named(name: str) -> None:
    with pytest.raises(ShapeError, match=rf"^{name} received an empty batch: \(0, 4"):
        layers()[name].forward(input_of(name, 0))


@pytest.mark.parametrize("name", layers())
def test_backward_without_forward_is_named(name: str) -> None:
    with pytest.raises(ConvolensError, match=f"^{name} has nothing to go back from: call forward"):
        layers()[name].backward(np.ones((3, 4, 4, 4)))


@pytest.mark.parametrize("name", layers())
def test_a_gradient_of_another_shape_is_named(name: str) -> None:
    layer = layers()[name]
    shape = layer.forward(input_of(name)).shape
    with pytest.raises(ShapeError) as caught:
        layer.backward(np.ones((3, 7)))
    assert str(caught.value) == f"{name} gave {shape} forward, so dout must be {shape}: (3, 7)"
