import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convolens.errors import ConfigError
from convolens.scratch.penalties import elastic, l1, l2

strengths = st.floats(0, 10)


@given(first=strengths, second=strengths, seed=st.integers(0, 100))
def test_value_and_gradient_are_autograds(first: float, second: float, seed: int) -> None:
    w = np.random.default_rng(seed).normal(size=(3, 4))
    w[0, 0] = 0.0  # where |w| has no slope, torch takes 0 too
    tensor = torch.tensor(w, requires_grad=True)
    expected = first * tensor.abs().sum() + second / 2 * tensor.square().sum()
    expected.backward()
    value, gradient = elastic(first, second)(w)
    assert value == pytest.approx(expected.item(), abs=1e-12)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-12)


def test_l1_and_l2_are_the_ends_of_elastic() -> None:
    w = np.array([[1.0, -2.0]])
    for ours, theirs in ((l1(0.3), elastic(0.3, 0.0)), (l2(0.3), elastic(0.0, 0.3))):
        assert ours(w)[0] == theirs(w)[0]
        np.testing.assert_array_equal(ours(w)[1], theirs(w)[1])


def test_the_gradient_keeps_the_weights_dtype() -> None:
    assert elastic(0.1, 0.1)(np.ones(2, np.float32))[1].dtype == np.float32


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_wrong_strength_is_named(strength: float) -> None:
    with pytest.raises(ConfigError) as error:
        l2(strength)
    assert str(error.value) == (
        f"the strength of l2 must be a finite number of at least 0, received {strength!r}"
    )
