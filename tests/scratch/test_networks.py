import numpy as np
import pytest

from convolens.errors import ShapeError
from convolens.scratch import networks
from convolens.scratch.network import Network
from convolens.scratch.optimizers import Adam, Momentum
from convolens.scratch.trainer import Trainer

NAMES = ("simple_convnet", "deep_convnet", "lenet5", "residual_net")
BUILD = {name: getattr(networks, name) for name in NAMES}


def num_params(net: Network) -> int:
    return sum(p.size for p in net.params.values())


def test_the_books_numbers() -> None:
    """Conv (30, 1, 5, 5), affine 30·12·12 to 100, affine 100 to 10: section 7.5 of the book."""
    shapes = {name: p.shape for name, p in networks.simple_convnet().params.items()}
    assert shapes == {
        "conv1.W": (30, 1, 5, 5),
        "conv1.b": (30,),
        "fc1.W": (4320, 100),
        "fc1.b": (100,),
        "fc2.W": (100, 10),
        "fc2.b": (10,),
    }
    deep = {name: p.shape for name, p in networks.deep_convnet().params.items() if p.ndim > 1}
    assert deep == {
        "conv1.W": (16, 1, 3, 3),
        "conv2.W": (16, 16, 3, 3),
        "conv3.W": (32, 16, 3, 3),
        "conv4.W": (32, 32, 3, 3),
        "conv5.W": (64, 32, 3, 3),
        "conv6.W": (64, 64, 3, 3),
        "fc1.W": (64 * 4 * 4, 50),
        "fc2.W": (50, 10),
    }
    assert num_params(networks.lenet5()) == 61_706


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("classes", "channels", "size"), [(10, 1, 28), (7, 3, 20)])
def test_classes_channels_and_size_are_free(
    name: str, classes: int, channels: int, size: int
) -> None:
    net = BUILD[name](classes, channels, size)
    x = np.zeros((2, channels, size, size), np.float32)
    scores = net.predict(x)
    assert (scores.shape, scores.dtype) == ((2, classes), np.float32)
    assert net.loss(x, np.array([0, 1])) == pytest.approx(np.log(classes), abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_weights(name: str) -> None:
    one, same, other = (BUILD[name](image_size=16, seed=seed) for seed in (3, 3, 4))
    for key, p in one.params.items():
        np.testing.assert_array_equal(p, same.params[key])
    first = next(iter(one.params))
    assert not np.array_equal(one.params[first], other.params[first])


@pytest.mark.parametrize("name", ["simple_convnet", "deep_convnet", "lenet5"])
def test_a_picture_that_is_too_small(name: str) -> None:
    with pytest.raises(ShapeError, match=r"does not fit into|must be at least"):
        BUILD[name](image_size=3)


@pytest.mark.parametrize("name", NAMES)
def test_fifty_pictures_are_learnt_by_heart(name: str) -> None:
    """Pictures of noise with labels at random: only a network that really learns gets them all."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 1, 16, 16)).astype(np.float32)
    t = rng.integers(0, 10, 50)
    options = {"deep_convnet": {"dropout": 0.0}, "residual_net": {"width": 8}}
    net = BUILD[name](image_size=16, **options.get(name, {}))
    optimizer = Momentum(lr=0.05) if name == "residual_net" else Adam(lr=0.003)
    rows = Trainer(net, optimizer, epochs=30, batch_size=25).fit(x, t)
    assert rows[0]["train_loss"] > 2
    assert net.accuracy(x, t) == 1.0


def test_the_forward_pass_in_float64_and_a_gradient_of_every_parameter() -> None:
    for build in BUILD.values():
        net = build(image_size=16, dtype=np.float64)
        x = np.random.default_rng(0).standard_normal((3, 1, 16, 16))
        grads = net.gradient(x, np.array([1, 2, 3]))
        for name, p in net.params.items():
            assert grads[name].shape == p.shape
            assert grads[name].dtype == np.float64
            assert np.isfinite(grads[name]).all(), name
