from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from convolens.errors import ConfigError
from convolens.train.events import Event, Stepped, ignore
from convolens.train.job import Job
from convolens.train.optimizer import OptimizerConfig
from convolens.train.stop import StoppedError, StopRequest
from convolens.train.sweep import rates_of, suggest, sweep


def test_the_steepest_fall_of_a_curve_with_a_known_one() -> None:
    rates = rates_of()
    logs = np.log10(rates)
    falling = 2.3 - 2 / (1 + np.exp(-3 * (logs + 2)))  # steepest at 1e-2
    rising = np.exp(np.clip(3 * (logs - 0.3), -20, 3))
    found = suggest(rates, (falling + rising).tolist())
    assert np.log10(found.suggestion) == pytest.approx(-2, abs=0.1)


def test_noise_and_what_comes_after_the_least_loss_do_not_mislead() -> None:
    rates = rates_of()
    logs = np.log10(rates)
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(rates))
    loss = 2.3 - 2 / (1 + np.exp(-3 * (logs + 3))) + noise
    loss[-12:] = [4, 6, 9, 9, 9, 9, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]  # a steeper fall, but too late
    assert np.log10(suggest(rates, loss.tolist()).suggestion) == pytest.approx(-3, abs=0.5)


def test_a_loss_that_never_falls() -> None:
    rates = rates_of(10)
    assert suggest(rates, [float(i) for i in range(10)]).suggestion == rates[0]
    with pytest.raises(ConfigError, match="the loss was finite for 2 steps only"):
        suggest(rates[:2], [1.0, 1.0])


def test_a_real_network_falls_then_rises_and_is_left_as_it_was(
    make_job: Callable[..., Job],
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
    job = make_job(net, optimizer=OptimizerConfig(name="momentum", lr=0.3))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.eval()
    told: list[Event] = []
    found = sweep(job, told.append, StopRequest())
    assert not net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in net.parameters())
    assert found.rates == tuple(rates_of()[: len(found.rates)])
    assert found.rates[0] == pytest.approx(1e-7)
    assert 1e-4 < found.suggestion < 1.0
    assert min(found.smoothed) < 0.5 * found.smoothed[0]
    assert sum(isinstance(e, Stepped) for e in told) >= len(found.losses)
    assert not list(job.folder.path.iterdir())
    again = sweep(job, ignore, StopRequest())
    assert again == found


def test_what_cannot_be_tried_and_stopping(make_job: Callable[..., Job]) -> None:
    with pytest.raises(ConfigError, match="lbfgs has no learning rate worth a range test"):
        sweep(make_job(optimizer=OptimizerConfig(name="lbfgs")), ignore, StopRequest())
    stop = StopRequest()

    def notify(event: Event) -> None:
        if isinstance(event, Stepped):
            stop.handle(2, None)

    with pytest.raises(StoppedError, match="leaves nothing behind"):
        sweep(make_job(), notify, stop)
