import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.visual.filters import filter_sheet
from convolens.visual.templates import as_pictures, linear_classifier, templates

RNG = np.random.default_rng(0)


def test_each_set_stands_there_on_its_own_scale(places_of) -> None:
    linear, kernels = RNG.normal(size=(10, 3 * 8 * 8)), 9 * RNG.normal(size=(4, 3, 3, 3))
    pictures = as_pictures(linear, (3, 8, 8))
    figure = templates({"linear": pictures, "ConvNet": kernels})
    for weights, columns in ((pictures, 5), (kernels, 2)):
        expected = filter_sheet(weights, float(np.abs(weights).max()), columns)
        assert len(places_of(expected, figure.pixels)) == 1


def test_a_unit_of_a_linear_layer_is_a_picture() -> None:
    net_weights = RNG.normal(size=(2, 12))
    picture = RNG.normal(size=(3, 2, 2))
    sums = (as_pictures(net_weights, (3, 2, 2)) * picture).sum((1, 2, 3))
    np.testing.assert_allclose(sums, net_weights @ picture.reshape(-1))


def test_the_linear_classifier_solves_the_normal_equations() -> None:
    pictures = RNG.integers(0, 256, (20, 1, 3, 2), np.uint8)
    labels = RNG.integers(0, 3, 20)
    found = linear_classifier(pictures, labels, 3)
    assert found.shape == (3, 1, 3, 2)
    x = pictures.reshape(20, 6) / 255
    x -= x.mean(0)
    y = np.eye(3)[labels]
    ridge = 5 * (x**2).sum() / 20
    expected = np.linalg.solve(x.T @ x + ridge * np.eye(6), x.T @ (y - y.mean(0))).T
    np.testing.assert_allclose(found.reshape(3, 6), expected, atol=1e-9)
    with pytest.raises(ShapeError, match=r"a label for each, received \(20, 1, 3, 2\) and \(3,\)"):
        linear_classifier(pictures, labels[:3], 3)


def test_weights_of_another_form() -> None:
    with pytest.raises(ShapeError, match="1·28·28 = 784"):
        as_pictures(np.ones((10, 700)), (1, 28, 28))
    with pytest.raises(ShapeError, match="at least one set"):
        templates({})
    with pytest.raises(ShapeError, match="the weights of 'deep' must have shape"):
        templates({"deep": np.ones((8, 16, 3, 3))})
