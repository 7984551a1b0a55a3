import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, StepLR

from convolens.errors import ConfigError
from convolens.train.schedule import ScheduleConfig, factor, set_learning_rate

# The scheduler and its optimizer take turns in a training; here the optimizer never steps.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


def optimizer(lr: float = 1.0) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(scheduler: LRScheduler, steps: int) -> list[float]:
    values = []
    for _ in range(steps):
        values.append(float(scheduler.get_last_lr()[0]))
        scheduler.step()
    return values


def factors(config: ScheduleConfig, total: int, per_epoch: int = 1) -> list[float]:
    return [factor(config, step, total, per_epoch) for step in range(total)]


@settings(max_examples=30, deadline=None)
@given(total=st.integers(1, 60), warmup=st.floats(0, 1))
def test_warmup_is_torchs_linear_one(total, warmup):
    ours = factors(ScheduleConfig(warmup=warmup), total)
    warm_steps = round(warmup * total)
    if warm_steps == 0:
        assert ours == [1.0] * total
        return
    theirs = LinearLR(optimizer(), start_factor=1 / (warm_steps + 1), total_iters=warm_steps)
    assert ours == pytest.approx(rates(theirs, total))


@settings(max_examples=30, deadline=None)
@given(
    epochs=st.integers(1, 12),
    per_epoch=st.integers(1, 5),
    step_size=st.integers(1, 5),
    gamma=st.floats(0.01, 1),
)
def test_step_is_torchs(epochs, per_epoch, step_size, gamma):
    config = ScheduleConfig(name="step", step_size=step_size, gamma=gamma)
    by_epoch = rates(StepLR(optimizer(), step_size, gamma), epochs)
    theirs = [rate for rate in by_epoch for _ in range(per_epoch)]
    assert factors(config, epochs * per_epoch, per_epoch) == pytest.approx(theirs)


@settings(max_examples=30, deadline=None)
@given(total=st.integers(1, 60), warmup=st.floats(0, 0.9), least=st.floats(0, 1))
def test_cosine_is_torchs_on_the_steps_after_the_warmup(total, warmup, least):
    config = ScheduleConfig(name="cosine", warmup=warmup, min_factor=least)
    warm_steps = round(warmup * total)
    rest = total - warm_steps
    if rest:
        theirs = rates(CosineAnnealingLR(optimizer(), rest, eta_min=least), rest)
        assert factors(config, total)[warm_steps:] == pytest.approx(theirs, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    total=st.integers(3, 60),
    peak=st.floats(0.05, 0.95),
    div=st.floats(1, 100),
    final=st.floats(1, 1e5),
    shape=st.sampled_from(["cosine", "linear"]),
)
def test_onecycle_is_torchs(total, peak, div, final, shape):
    # Where the rise has less than one step, torch starts past the top and we start at it.
    peak = max(peak, 1.01 / total)
    config = ScheduleConfig(
        name="onecycle", peak=peak, div_factor=div, final_div_factor=final, anneal=shape
    )
    theirs = OneCycleLR(
        optimizer(),
        max_lr=1.0,
        total_steps=total,
        pct_start=peak,
        anneal_strategy=shape[:3] if shape == "cosine" else shape,
        cycle_momentum=False,
        div_factor=div,
        final_div_factor=final,
    )
    ours = factors(config, total)
    expected = [float(theirs.get_last_lr()[0])]
    for _ in range(total - 1):
        theirs.step()
        expected.append(float(theirs.get_last_lr()[0]))
    assert ours == pytest.approx(expected, abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(
    config=st.builds(
        ScheduleConfig,
        name=st.sampled_from(["constant", "step", "cosine", "onecycle"]),
        warmup=st.floats(0, 1),
        step_size=st.integers(1, 10**6),
        gamma=st.floats(0, 1, exclude_min=True),
        min_factor=st.floats(0, 1),
        div_factor=st.floats(1, 1e300),
        final_div_factor=st.floats(1, 1e300),
        peak=st.floats(0, 1),
        anneal=st.sampled_from(["cosine", "linear"]),
    ),
    total=st.integers(1, 10**9),
    per_epoch=st.integers(1, 10**6),
    data=st.data(),
)
def test_a_factor_is_always_between_0_and_1(config, total, per_epoch, data):
    step = data.draw(st.integers(0, total - 1))
    value = factor(config, step, total, per_epoch)
    assert math.isfinite(value)
    assert 0 <= value <= 1


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "onecycle"])
def test_a_training_of_one_step_learns_at_the_full_rate(name):
    assert factor(ScheduleConfig(name=name), 0, 1, 1) == 1.0
    assert factor(ScheduleConfig(name=name, warmup=1.0), 0, 1, 1) == 0.5


@pytest.mark.parametrize("peak", [0.0, 1.0])
def test_onecycle_may_peak_at_either_end(peak):
    values = factors(ScheduleConfig(name="onecycle", peak=peak), 10)
    assert values == sorted(values, reverse=peak == 0)
    assert max(values) == 1.0


def test_every_group_gets_its_own_base_rate_times_the_factor():
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr, "initial_lr": lr}
        for lr in (0.1, 0.4)
    ]
    trained = SGD(groups)
    set_learning_rate(trained, 0.5)
    set_learning_rate(trained, 0.25)
    assert [group["lr"] for group in trained.param_groups] == [0.025, 0.1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "cosin"}, "schedule.name does not know 'cosin'\nDid you mean cosine?"),
        ({"anneal": "square"}, "schedule.anneal does not know 'square'"),
        ({"warmup": 1.5}, "schedule.warmup must be a number of at least 0 and at most 1"),
        ({"step_size": 0}, "schedule.step_size must be a whole number of at least 1, received 0"),
        ({"gamma": 0}, "schedule.gamma must be a number above 0 and at most 1, received 0"),
        ({"min_factor": -1}, "schedule.min_factor must be"),
        ({"div_factor": 0.5}, "schedule.div_factor must be a number of at least 1"),
        ({"final_div_factor": 0}, "schedule.final_div_factor must be"),
        ({"peak": float("nan")}, "schedule.peak must be"),
    ],
)
def test_a_wrong_field_is_refused(wrong, message):
    with pytest.raises(ConfigError) as error:
        ScheduleConfig(**wrong)
    assert str(error.value).startswith(message)


def test_a_step_outside_the_training_is_refused():
    with pytest.raises(ConfigError, match="step must be from 0 to 9, received 10"):
        factor(ScheduleConfig(), 10, 10, 1)
    with pytest.raises(ConfigError, match="total_steps must be a whole number of at least 1, rec"):
        factor(ScheduleConfig(), 0, 0, 1)
