import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convolens.errors import ConfigError, RunError
from convolens.train.checkpoint import load_tensors, pack, save_tensors, unpack
from convolens.train.optimizer import (
    DEFAULTS,
    OptimizerConfig,
    fields_used,
    make_optimizer,
    needs_closure,
    resolved,
)

NAMES = list(DEFAULTS)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(54, 3),
    )
    return model.to(memory_format=torch.channels_last)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(step)
    labels = torch.randint(3, (12,), generator=g)
    x = torch.randn(12, 2, 5, 5, generator=g) + labels.reshape(-1, 1, 1, 1) - 1
    return x.to(memory_format=torch.channels_last), labels


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterable[int]) -> list[float]:
    losses = []
    for step in steps:
        x, labels = batch(step)

        def closure(x=x, labels=labels):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    return losses


def formula(config: OptimizerConfig, w, gradients):
    """The updates as the documentation writes them, one number at a time in float64."""
    c = resolved(config)
    m, v, decay = 0.0, 0.0, c.weight_decay
    for t, g in enumerate(gradients, 1):
        g = g if c.name == "adamw" else g + decay * w
        match c.name:
            case "sgd":
                update = g
            case "momentum":
                m = update = c.momentum * m + g
            case "nesterov":
                m = c.momentum * m + g
                update = g + c.momentum * m
            case "adagrad":
                v = v + g**2
                update = g / (v**0.5 + c.eps)
            case "rmsprop":
                v = c.alpha * v + (1 - c.alpha) * g**2
                m = update = c.momentum * m + g / (v**0.5 + c.eps)
            case "adam" | "adamw":
                m = c.beta1 * m + (1 - c.beta1) * g
                v = c.beta2 * v + (1 - c.beta2) * g**2
                root = (v / (1 - c.beta2**t)) ** 0.5
                update = m / (1 - c.beta1**t) / (root + c.eps)
                update = update + (decay * w if c.name == "adamw" else 0)
        w = w - c.lr * update
    return w


@pytest.mark.parametrize(
    "config",
    [
        OptimizerConfig(name="sgd"),
        OptimizerConfig(name="sgd", weight_decay=0.1, decay_norms=True),
        OptimizerConfig(name="momentum", weight_decay=0.1),
        OptimizerConfig(name="nesterov", lr=0.2, momentum=0.5, weight_decay=0.1),
        OptimizerConfig(name="adagrad", lr=0.5, weight_decay=0.1),
        OptimizerConfig(name="rmsprop", lr=0.1, alpha=0.9, momentum=0.7, weight_decay=0.1),
        OptimizerConfig(name="adam", lr=0.1, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.1),
        OptimizerConfig(name="adamw", lr=0.1, beta2=0.99, weight_decay=0.1),
    ],
    ids=lambda config: f"{config.name} {config.weight_decay}",
)
def test_weights_move_by_the_documented_equations(config):
    g = torch.Generator().manual_seed(0)
    start = torch.randn(3, 2, generator=g, dtype=torch.float64)
    gradients = list(torch.randn(6, 3, 2, generator=g, dtype=torch.float64))
    model = nn.Linear(2, 3, bias=False, dtype=torch.float64)
    model.weight.data.copy_(start)
    optimizer = make_optimizer(model, config)
    for gradient in gradients:
        model.weight.grad = gradient.clone()
        optimizer.step()
    expected = formula(config, start, gradients)
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("line_search", [True, False])
def test_lbfgs_is_torchs_whatever_the_memory_format(line_search):
    ours, theirs = net(), net().to(memory_format=torch.contiguous_format)
    config = OptimizerConfig(name="lbfgs", lr=0.5, max_iter=4, line_search=line_search)
    search = "strong_wolfe" if line_search else None
    plain = torch.optim.LBFGS(
        theirs.parameters(), lr=0.5, max_iter=4, history_size=10, line_search_fn=search
    )
    losses = train(ours, make_optimizer(ours, config), range(2))
    assert losses == pytest.approx(train(theirs, plain, range(2)), rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_learn(name):
    model = net()
    losses = train(model, make_optimizer(model, OptimizerConfig(name=name)), [0] * 40)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weight_decay", [None, 0.01])
def test_a_training_that_stops_goes_on_bit_for_bit(name, weight_decay, tmp_path):
    config = OptimizerConfig(name=name, weight_decay=weight_decay)
    whole = net()
    train(whole, make_optimizer(whole, config), range(6))

    first = net()
    optimizer = make_optimizer(first, config)
    train(first, optimizer, range(3))
    tree, tensors = pack({"optimizer": optimizer.state_dict()})
    model_tensors = {f"model.{n}": v for n, v in first.state_dict().items()}
    save_tensors(tmp_path / "state", {**tensors, **model_tensors}, {"tree": tree})

    second = net(seed=9)
    tensors, meta = load_tensors(tmp_path / "state")
    second.load_state_dict({n: tensors[f"model.{n}"] for n in second.state_dict()})
    resumed = make_optimizer(second, config)
    resumed.load_state_dict(unpack(meta["tree"], tensors)["optimizer"])
    train(second, resumed, range(3, 6))
    for (n, a), b in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), n


def test_the_same_training_twice_is_bit_equal():
    models = [net(), net()]
    for model in models:
        train(model, make_optimizer(model, OptimizerConfig(name="muon")), range(3))
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


def group_shapes(optimizer: torch.optim.Optimizer) -> list[tuple[float, list[int]]]:
    groups = optimizer.param_groups
    return [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in groups]


def test_weight_decay_spares_biases_and_norms_unless_asked():
    sparing = make_optimizer(net(), OptimizerConfig(name="sgd", weight_decay=0.1))
    assert group_shapes(sparing) == [(0.1, [4, 4, 2]), (0.0, [1, 1, 1, 1, 1])]
    config = OptimizerConfig(name="sgd", weight_decay=0.1, decay_norms=True)
    assert group_shapes(make_optimizer(net(), config)) == [(0.1, [4, 1, 1, 1, 4, 1, 2, 1])]
    muon = make_optimizer(net(), OptimizerConfig(name="muon", weight_decay=0.1))
    assert group_shapes(muon) == [(0.1, [4]), (0.1, [4, 2]), (0.0, [1, 1, 1, 1, 1])]


def test_every_group_remembers_its_base_learning_rate():
    config = OptimizerConfig(name="muon", lr=0.5, aux_lr=0.25)
    groups = make_optimizer(net(), config).param_groups
    assert [group["initial_lr"] for group in groups] == [0.5, 0.25]
    assert [group["lr"] for group in groups] == [0.5, 0.25]


def test_shared_parameters_are_counted_once_and_frozen_ones_left_out():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Linear(3, 3), shared)
    model[1].weight.requires_grad_(False)
    optimizer = make_optimizer(model, OptimizerConfig(name="sgd"))
    ids = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert ids == [id(shared.weight), id(shared.bias), id(model[1].bias)]


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)])
def test_a_model_with_nothing_to_train_is_refused(model):
    with pytest.raises(ConfigError, match=r"has no trainable parameters\nSet requires_grad"):
        make_optimizer(model, OptimizerConfig())


@pytest.mark.parametrize("name", NAMES)
def test_a_resolved_configuration_is_complete_and_comes_back_from_json(name):
    config = resolved(OptimizerConfig(name=name))
    filled = [f.name for f in fields(config) if getattr(config, f.name) is not None]
    of_groups = {"decay_norms", "rates"}  # never None
    assert set(filled) - of_groups == set(fields_used(name)) - of_groups
    assert resolved(config) == config
    assert OptimizerConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_what_was_asked_for_stays_and_what_is_not_used_goes():
    config = resolved(OptimizerConfig(name="adam", lr=0.5, momentum=0.3, decay_norms=True))
    assert (config.lr, config.momentum, config.decay_norms, config.beta1) == (0.5, None, True, 0.9)


def test_only_lbfgs_needs_a_closure():
    assert [name for name in NAMES if needs_closure(OptimizerConfig(name=name))] == ["lbfgs"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "adan"}, "optimizer.name does not know 'adan'\nDid you mean adam or adamw?"),
        ({"lr": 0}, "optimizer.lr must be a number above 0, received 0"),
        ({"lr": float("nan")}, "optimizer.lr must be a number above 0, received nan"),
        ({"lr": "fast"}, "optimizer.lr must be a number above 0, received 'fast'"),
        ({"momentum": 1.0}, "optimizer.momentum must be a number of at least 0 and below 1, rec"),
        ({"name": "nesterov", "momentum": 0}, "optimizer.momentum must be a number above 0 and"),
        ({"alpha": -0.1}, "optimizer.alpha must be"),
        ({"beta1": 1}, "optimizer.beta1 must be"),
        ({"beta2": 1.5}, "optimizer.beta2 must be"),
        ({"eps": 0}, "optimizer.eps must be a number above 0, received 0"),
        ({"weight_decay": -1}, "optimizer.weight_decay must be a number of at least 0, received"),
        ({"aux_lr": -1}, "optimizer.aux_lr must be"),
        ({"history_size": 0}, "optimizer.history_size must be a whole number of at least 1"),
        ({"max_iter": 2.5}, "optimizer.max_iter must be a whole number of at least 1, received"),
        ({"line_search": "wolfe"}, "optimizer.line_search must be true or false, received 'wolfe'"),
        ({"decay_norms": 3}, "optimizer.decay_norms must be true or false, received 3"),
    ],
)
def test_a_wrong_field_is_refused(wrong, message):
    with pytest.raises(ConfigError) as error:
        OptimizerConfig(**wrong)
    assert str(error.value).startswith(message)


def test_the_state_of_another_optimizer_or_model_is_refused():
    model = net()
    optimizer = make_optimizer(model, OptimizerConfig(name="adam"))
    train(model, optimizer, range(1))
    state = optimizer.state_dict()
    sgd = make_optimizer(net(), OptimizerConfig(name="sgd"))
    with pytest.raises(RunError, match="the saved state is one of adam, this optimizer is sgd"):
        sgd.load_state_dict(state)
    fewer = make_optimizer(nn.Linear(2, 2), OptimizerConfig(name="adam"))
    with pytest.raises(RunError, match="the saved state is not one of this optimizer: "):
        fewer.load_state_dict(state)
    wider = make_optimizer(nn.Linear(2, 2), OptimizerConfig(name="adam"))
    narrow = nn.Linear(3, 2)
    other = make_optimizer(narrow, OptimizerConfig(name="adam"))
    narrow(torch.ones(1, 3)).sum().backward()
    other.step()
    with pytest.raises(RunError, match=r"exp_avg has shape \(2, 3\), its parameter \(2, 2\)"):
        wider.load_state_dict(other.state_dict())


def test_making_and_stepping_does_not_import_the_compiler():
    code = """
import sys, torch
from torch import nn
from convolens.train.optimizer import DEFAULTS, OptimizerConfig, make_optimizer
for name in DEFAULTS:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = make_optimizer(model, OptimizerConfig(name=name))
    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        return loss
    optimizer.step(closure)
    optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adam", "adamw", "adagrad"])
def test_channels_last_filters_are_not_copied_and_learn_the_same(name: str) -> None:
    """Fused kernels copy what is not contiguous, so they are shown filters as they lie."""
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 4, (1, 3)))
        net.to(memory_format=layout)  # type: ignore[call-overload]
        optimizer = make_optimizer(net, OptimizerConfig(name=name, lr=0.01, weight_decay=0.01))
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            for p in net.parameters():
                gradient = torch.randn(p.shape, generator=generator)
                p.grad = torch.empty_like(p).copy_(gradient)
            given = [(p.data_ptr(), p.shape, p.grad) for p in net.parameters()]
            with torch.profiler.profile() as seen:
                optimizer.step()
            assert "aten::contiguous" not in {event.name for event in seen.events()}
            assert given == [(p.data_ptr(), p.shape, p.grad) for p in net.parameters()]
        state = [
            value
            for p in net.parameters()
            for value in optimizer.state[p].values()
            if isinstance(value, torch.Tensor)
        ]
        assert all(
            value.ndim == 0 or value.shape in {p.shape for p in net.parameters()} for value in state
        )
        found.append([*(p.detach() for p in net.parameters()), *state])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
