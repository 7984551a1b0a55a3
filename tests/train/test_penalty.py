import copy

import pytest
import torch
from torch import nn

from convolens.errors import ConfigError
from convolens.train.penalty import (
    PenaltyConfig,
    add_penalty_gradient,
    penalised_parameters,
    penalty,
)


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def loss_of(model: nn.Module) -> torch.Tensor:
    x = torch.linspace(-1, 1, 4 * 16).reshape(4, 1, 4, 4)
    return model(x).square().mean()


def test_the_value_is_that_of_the_formula():
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5], [0.0]])]
    value = penalty(weights, PenaltyConfig(l1=0.1, l2=0.01))
    assert value.item() == pytest.approx(0.1 * 3.5 + 0.01 / 2 * 5.25)
    assert penalty(weights, PenaltyConfig()).item() == 0
    assert penalty([], PenaltyConfig(l1=1.0)).item() == 0


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.3), (0.1, 0.3), (0.0, 0.0)])
def test_the_gradient_in_place_equals_autograd(l1, l2):
    config = PenaltyConfig(l1=l1, l2=l2)
    ours = small_net().to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    loss_of(ours).backward()
    add_penalty_gradient(penalised_parameters(ours), config)
    (loss_of(theirs) + penalty(penalised_parameters(theirs), config)).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_l2_equals_the_weight_decay_of_sgd():
    ours, theirs = small_net(), small_net()
    config = PenaltyConfig(l2=0.05)
    own = torch.optim.SGD(ours.parameters(), lr=0.1)
    weights = penalised_parameters(theirs)
    other = torch.optim.SGD(weights, lr=0.1, weight_decay=0.05)
    rest = [p for p in theirs.parameters() if p.ndim == 1]
    other.add_param_group({"params": rest, "weight_decay": 0.0})
    for _ in range(3):
        for model, optimizer in ((ours, own), (theirs, other)):
            optimizer.zero_grad()
            loss_of(model).backward()
            if model is ours:
                add_penalty_gradient(penalised_parameters(ours), config)
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_only_trainable_weights_are_penalised_and_shared_ones_once():
    model = small_net()
    model.append(nn.Linear(2, 2))
    model.append(model[-1])
    model[0].weight.requires_grad_(False)
    assert [tuple(p.shape) for p in penalised_parameters(model)] == [(2, 12), (2, 2)]


def test_a_weight_without_a_gradient_is_left_alone():
    weight = nn.Parameter(torch.ones(2, 2))
    add_penalty_gradient([weight], PenaltyConfig(l1=1.0, l2=1.0))
    assert weight.grad is None


@pytest.mark.parametrize("field", ["l1", "l2"])
def test_a_negative_weight_is_refused(field):
    with pytest.raises(ConfigError, match=rf"penalty\.{field} must be a number of at least 0, rec"):
        PenaltyConfig(**{field: -1e-3})
