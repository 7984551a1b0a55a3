import numpy as np
import pytest
import torch

from convolens.errors import ConfigError
from convolens.scratch.initial import gaussian, he, xavier


def test_the_spread_is_torchs() -> None:
    fan_in, fan_out = 300, 500
    weight = torch.empty(fan_out, fan_in)
    rng = np.random.default_rng(0)
    for ours, theirs in (
        (xavier, torch.nn.init.xavier_normal_),
        (lambda *a: he(*a), lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu")),
        (gaussian(0.01), lambda w: torch.nn.init.normal_(w, std=0.01)),
    ):
        torch.manual_seed(0)
        theirs(weight)
        W = ours(rng, (fan_in, fan_out), fan_in, fan_out)
        assert W.shape == (fan_in, fan_out)
        assert W.std() == pytest.approx(float(weight.std()), rel=0.01)  # 150,000 numbers
        assert abs(W.mean()) < 3 * W.std() / W.size**0.5 + 1e-12


@pytest.mark.parametrize(
    ("initial", "activation"), [(he, lambda z: np.maximum(z, 0)), (xavier, np.tanh)]
)
def test_signals_neither_fade_nor_grow_through_ten_layers(initial, activation) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 400))
    sizes = []
    for _ in range(10):
        x = activation(x @ initial(rng, (400, 400), 400, 400))
        sizes.append(float(np.sqrt(np.mean(x**2))))
    assert 0.2 < sizes[-1] < 2
    faded = np.tanh(x @ gaussian(0.01)(rng, (400, 400), 400, 400))
    assert np.sqrt(np.mean(faded**2)) < 0.3 * sizes[-1]


def test_a_wrong_std_is_named() -> None:
    with pytest.raises(ConfigError, match="std must be a finite number of at least 0, received -1"):
        gaussian(-1)
