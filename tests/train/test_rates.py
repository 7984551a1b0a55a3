import copy

import pytest
import torch
from torch import nn

from convolens.errors import ConfigError
from convolens.train.optimizer import OptimizerConfig, make_optimizer
from convolens.train.rates import parse_rates
from convolens.train.schedule import set_learning_rate


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def learn(model: nn.Module, config: OptimizerConfig, steps: int = 3) -> nn.Module:
    optimizer = make_optimizer(model, config)
    for step in range(steps):
        set_learning_rate(optimizer, 1 / (1 + step))
        optimizer.zero_grad()
        model(torch.ones(4, 1, 3, 3)).square().sum().backward()
        optimizer.step()
    return model


def test_each_parameter_has_the_factor_of_the_first_pattern_that_matches() -> None:
    model = net()
    config = OptimizerConfig(
        name="nesterov", lr=0.1, weight_decay=0.01, rates="3.*:4, *.bias:2, 0.*:8"
    )
    found = {
        id(p): (group["lr"], group["initial_lr"], group["weight_decay"])
        for group in make_optimizer(model, config).param_groups
        for p in group["params"]
    }
    expected = {
        "0.weight": (0.8, 0.8, 0.00125),
        "0.bias": (0.2, 0.2, 0.0),
        "1.weight": (0.1, 0.1, 0.0),
        "1.bias": (0.2, 0.2, 0.0),
        "3.weight": (0.4, 0.4, 0.0025),
        "3.bias": (0.4, 0.4, 0.0),
    }
    for name, parameter in model.named_parameters():
        assert found[id(parameter)] == pytest.approx(expected[name]), name


def test_a_pattern_for_all_is_another_base_rate() -> None:
    plain = learn(net(), OptimizerConfig(name="momentum", lr=0.02, weight_decay=0.05))
    rated = learn(net(), OptimizerConfig(name="momentum", lr=0.01, weight_decay=0.1, rates="*:2"))
    for a, b in zip(plain.parameters(), rated.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "rmsprop", "adagrad", "adam", "adamw", "muon"])
def test_others_stay_as_they_were(name: str) -> None:
    start = net()
    config = OptimizerConfig(name=name, lr=1e-3)  # type: ignore[arg-type]
    rated = OptimizerConfig(name=name, lr=1e-3, rates="3.bias:64")  # type: ignore[arg-type]
    plain, changed = (learn(copy.deepcopy(start), c, steps=1) for c in (config, rated))
    for (key, a), b in zip(plain.named_parameters(), changed.parameters(), strict=True):
        assert torch.equal(a, b) == (key != "3.bias"), key
    moved = [(n[3].bias - start[3].bias).detach() for n in (plain, changed)]
    torch.testing.assert_close(moved[1], 64 * moved[0], rtol=1e-3, atol=1e-6)


def test_the_first_group_has_the_base_rate() -> None:
    config = OptimizerConfig(name="sgd", lr=0.1, decay_norms=True, rates="0.*:0.01,1.*:5")
    groups = make_optimizer(net(), config).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.001, 0.5])


@pytest.mark.parametrize("text", ["fc.*", "fc.*:", ":3", "fc.*:0", "fc.*:-1", "a:1,b:inf", "a:nan"])
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.rates takes pattern:factor with a factor"):
        parse_rates(text)


def test_a_pattern_that_matches_nothing_and_lbfgs() -> None:
    with pytest.raises(ConfigError, match=r"'4\.bias' matches no parameter") as caught:
        make_optimizer(net(), OptimizerConfig(name="sgd", rates="4.bias:2"))
    assert caught.value.hint is not None
    assert "3.bias" in caught.value.hint
    with pytest.raises(ConfigError, match="cannot be used with lbfgs"):
        OptimizerConfig(name="lbfgs", rates="*:2")
