from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convolens.errors import ConfigError, DataError, ShapeError
from convolens.scratch.activations import ReLU, Tanh
from convolens.scratch.affine import Affine
from convolens.scratch.chain import Chain, Residual
from convolens.scratch.convolution import Convolution
from convolens.scratch.gradient import numerical_gradient
from convolens.scratch.losses import SoftmaxWithLoss, SVMLoss
from convolens.scratch.network import Network, read_npz
from convolens.scratch.networks import residual_net, simple_convnet
from convolens.scratch.penalties import elastic


def small(penalty=None, loss=None, seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    layers = {
        "fc1": Affine(rng.normal(size=(4, 5)), rng.normal(size=5)),
        "act": Tanh(),
        "fc2": Affine(rng.normal(size=(5, 3)), rng.normal(size=3)),
    }
    return Network(layers, loss or SoftmaxWithLoss(), penalty=penalty)


X = np.random.default_rng(1).normal(size=(6, 4))
T = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SVMLoss()])
@pytest.mark.parametrize("penalty", [None, elastic(0.1, 0.3)])
def test_the_gradient_of_the_whole_loss(penalty, loss) -> None:
    net = small(penalty, loss)
    grads = net.gradient(X, T)
    assert grads.keys() == net.params.keys()
    for name, w in net.params.items():
        numerical = numerical_gradient(lambda _: net.loss(X, T), w)
        np.testing.assert_allclose(grads[name], numerical, atol=1e-8, err_msg=name)


def test_the_penalty_is_added_once_and_spares_the_biases() -> None:
    bare, priced = small(), small(elastic(0.0, 2.0))
    weights = sum(float((w**2).sum()) for name, w in bare.params.items() if name.endswith("W"))
    assert priced.loss(X, T) == pytest.approx(bare.loss(X, T) + weights)
    assert priced.evaluate(X, T, batch_size=4)[0] == pytest.approx(priced.loss(X, T))


def test_accuracy_counts_greatest_scores_in_parts_of_any_size() -> None:
    net = small()
    right = np.mean(net.predict(X).argmax(axis=1) == T)
    for size in (1, 4, 100):
        assert net.accuracy(X, T, batch_size=size) == pytest.approx(right)
    assert net.accuracy(X, np.eye(3)[T]) == pytest.approx(right)


def test_params_are_the_layers_own_arrays() -> None:
    net = small()
    before = net.predict(X)
    net.params["fc2.b"] += 1
    np.testing.assert_allclose(net.predict(X), before + 1)


def test_an_error_says_in_which_layer() -> None:
    with pytest.raises(ShapeError, match=r"^fc1: affine with W \(4, 5\) reads 4 numbers, recei"):
        small().predict(np.zeros((2, 3)))
    block = Residual({"conv": Convolution(np.ones((1, 2, 3, 3)))})
    with pytest.raises(ShapeError, match=r"^block: conv: convolution"):
        Chain({"block": block}).forward(np.zeros((1, 1, 3, 3)))


def test_a_block_whose_ways_differ_says_so() -> None:
    block = Residual({"conv": Convolution(np.ones((3, 2, 1, 1)))})
    with pytest.raises(ShapeError) as error:
        block.forward(np.zeros((1, 2, 4, 4)))
    assert str(error.value).splitlines() == [
        "a residual block adds F(x) (1, 3, 4, 4) to its shortcut (1, 2, 4, 4)",
        "Give the shortcut a 1×1 convolution with as many filters and the same stride.",
    ]


def test_a_dot_in_a_name_is_named() -> None:
    with pytest.raises(ConfigError, match=r"must have no dot in it, received 'conv\.1'"):
        Chain({"conv.1": ReLU()})


def test_labels_and_pictures_that_do_not_pair() -> None:
    with pytest.raises(ShapeError, match="a target for each picture, received 6 and 5"):
        small().accuracy(X, T[:5])
    with pytest.raises(ShapeError, match="received an empty batch"):
        small().accuracy(X[:0], T[:0])


def test_npz_there_and_back_with_the_statistics_of_the_blocks(tmp_path: Path) -> None:
    one, other = (residual_net(image_size=8, width=2, seed=seed) for seed in (0, 1))
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    one.predict(x, training=True)  # moves the running statistics
    one.save(tmp_path / "net.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["net.npz"]
    other.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(other.predict(x), one.predict(x))
    assert "block2.shortcut.bn.running_var" in read_npz(tmp_path / "net.npz")
    for name, value in one.state().items():
        np.testing.assert_array_equal(other.state()[name], value, err_msg=name)


def test_a_file_of_float64_loads_into_float32(tmp_path: Path) -> None:
    simple_convnet(image_size=8, dtype=np.float64).save(tmp_path / "net.npz")
    net = simple_convnet(image_size=8, seed=1)
    net.load(tmp_path / "net.npz")
    assert net.params["fc1.W"].dtype == np.float32
    assert np.array_equal(net.params["fc1.W"], simple_convnet(image_size=8).params["fc1.W"])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_named_in_one_line_and_changes_nothing(tmp_path: Path, data) -> None:
    net = small()
    net.save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    kind = data.draw(st.sampled_from(["cut", "byte", "noise"]))
    if kind == "cut":
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "byte":
        place = data.draw(st.integers(0, len(whole) - 1))
        flip = data.draw(st.integers(1, 255))
        damaged = whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
    else:
        damaged = data.draw(st.binary(max_size=200))
    path = tmp_path / "damaged.npz"
    path.write_bytes(damaged)
    other = small(seed=1)
    before = {name: value.copy() for name, value in other.state().items()}
    message, expected = "", net.state()  # a byte that no reader looks at, such as a date
    try:
        other.load(path)
    except (DataError, ShapeError) as error:
        message, expected = str(error), before
    assert message == "" or message.startswith(str(path))
    assert len(message.splitlines()) <= 1
    for name, value in other.state().items():
        np.testing.assert_array_equal(value, expected[name])


def test_what_else_is_wrong_with_a_file(tmp_path: Path) -> None:
    net, path = small(), tmp_path / "net.npz"
    with pytest.raises(DataError, match="there is no file"):
        net.load(path)
    np.savez(path, **{**net.state(), "fc3.W": np.ones(1)})
    with pytest.raises(DataError, match=r"is of another network: unknown fc3\.W$"):
        net.load(path)
    np.savez(path, **{"fc1.W": np.ones(1)})
    with pytest.raises(DataError, match=r"another network: missing fc1\.b, fc2\.W, fc2\.b$"):
        net.load(path)
    np.savez(path, **{**net.state(), "fc2.b": np.ones(4)})
    with pytest.raises(ShapeError, match=r"fc2\.b has shape \(4,\), the network's is \(3,\)"):
        net.load(path)
    np.savez(path, **{**net.state(), "fc2.b": np.ones(3, int)})
    with pytest.raises(DataError, match=r"fc2\.b must be float, it is int64"):
        net.load(path)
    np.savez(path, **{**net.state(), "fc2.b": np.array([{}, 1, 2], object)}, allow_pickle=True)
    with pytest.raises(DataError, match="damaged: Object arrays cannot be loaded"):
        net.load(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(DataError, match=r"is no \.npz file: it holds a single array"):
        net.load(tmp_path / "one.npy")
    with pytest.raises(DataError, match="cannot be written"):
        net.save(tmp_path / "no" / "such" / "folder.npz")
