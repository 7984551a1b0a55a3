import numpy as np
import pytest

from convolens.errors import ConfigError
from convolens.scratch.dropout import Dropout
from convolens.scratch.gradient import check_gradient


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.5])
def test_the_expectation_is_the_same_in_training_and_test(p: float, paper: bool) -> None:
    """Of 100,000 ones the mean strays by about (1 − p)⁻¹·√(p(1 − p)/100,000) < 0.004."""
    layer = Dropout(p, rng=np.random.default_rng(0), paper=paper)
    x = np.ones((100, 1000), np.float32)
    trained, tested = layer.forward(x, training=True), layer.forward(x)
    assert abs(trained.mean() - tested.mean()) < 0.01
    assert abs((trained == 0).mean() - p) < 0.01
    kept = trained[trained != 0]
    scale = 1 if paper else 1 / (1 - p)
    np.testing.assert_allclose(kept, scale, rtol=1e-6)
    np.testing.assert_allclose(tested, 1 - p if paper else 1, rtol=1e-6)


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_takes_the_same_factor(paper: bool, training: bool) -> None:
    rng = np.random.default_rng(0)
    layer = Dropout(0.4, rng=rng, paper=paper)
    ones = np.ones((5, 7))
    factor = layer.forward(ones, training=training)
    dout = rng.standard_normal(ones.shape)
    np.testing.assert_allclose(layer.backward(dout), dout * factor, rtol=1e-12)
    assert check_gradient(layer, rng.standard_normal((3, 4)), training=training)["x"] < 1e-8


def test_each_batch_is_drawn_anew_and_a_seed_repeats_them() -> None:
    x = np.ones((4, 50))
    first, second = (Dropout(0.5, rng=np.random.default_rng(7)) for _ in range(2))
    draws = [first.forward(x, training=True) for _ in range(3)]
    assert not np.array_equal(draws[0], draws[1])
    for draw in draws:
        np.testing.assert_array_equal(second.forward(x, training=True), draw)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_p_must_be_a_probability_less_than_1(p: float) -> None:
    with pytest.raises(ConfigError, match=f"^p must be at least 0 and less than 1, received {p}$"):
        Dropout(p)
