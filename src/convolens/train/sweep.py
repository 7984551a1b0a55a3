"""A learning-rate range test: the loss while the learning rate grows from tiny to far too large."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from convolens.data.loader import batches
from convolens.errors import ConfigError
from convolens.train.events import Notify, Started, Stepped
from convolens.train.freeze import learn
from convolens.train.job import Job, epoch_order
from convolens.train.optimizer import make_optimizer, needs_closure
from convolens.train.scale import scale_of
from convolens.train.schedule import set_learning_rate
from convolens.train.step import take_step
from convolens.train.stop import StoppedError, StopRequest

NUM_STEPS = 120
LOWEST, HIGHEST = 1e-7, 10.0
TOO_MUCH = 4.0
HALF_WINDOW = 4  # steps to either side over which the loss is averaged


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a range test found.

    Args:
        rates: the learning rate of each step.
        losses: the training loss of each step, before it; finite.
        smoothed: the mean loss of a step and its neighbours.
        suggestion: where the smoothed loss falls fastest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float


def rates_of(num_steps: int = NUM_STEPS) -> list[float]:
    """Learning rates in equal ratios, from 1e-7 to 10."""
    return [float(rate) for rate in np.geomspace(LOWEST, HIGHEST, num_steps)]


def sweep(job: Job, notify: Notify, stop: StopRequest, *, num_steps: int = NUM_STEPS) -> Sweep:
    """Trains for some steps, each at a greater learning rate, and undoes it all.

    It ends early where the loss is no longer finite, or is above the first and four times the
    least one. The schedule plays no part; several learning rates of one optimizer keep their
    ratio.

    Source: Smith (2017), arXiv:1506.01186, section 3.3, with the exponential growth of fastai.
    Args:
        job: its network is left as it was found, and nothing is written into its folder.
    Raises:
        ConfigError: when the optimizer searches its step lengths itself.
        StoppedError: when a stop was requested.
    """
    if needs_closure(job.config.optimizer):
        raise ConfigError(f"{job.config.optimizer.name} has no learning rate worth a range test")
    rates = rates_of(num_steps)
    notify(Started(step=0, total_steps=num_steps, epochs=1, batch_size=job.config.batch_size))
    with _undone(job.model), job.plan.own_threads():
        losses = _losses(job, rates, notify, stop)
    finite = [loss for loss in losses if math.isfinite(loss)]
    return suggest(rates[: len(finite)], finite)


def _losses(job: Job, rates: Sequence[float], notify: Notify, stop: StopRequest) -> list[float]:
    """The loss of one step at each rate, as far as the training goes well."""
    optimizer = make_optimizer(job.model, job.config.optimizer)
    base = float(optimizer.param_groups[0]["initial_lr"])
    num_steps = len(rates)
    scale = scale_of(job.plan)
    learn(job.model)
    losses: list[float] = []
    epoch = 0
    while len(losses) < num_steps and not _is_lost(losses):
        order = epoch_order(job.config.seed, epoch, len(job.train))
        order = order[: job.steps_per_epoch * job.config.batch_size]
        for batch in batches(job.train, order, job.config.batch_size):
            set_learning_rate(optimizer, rates[len(losses)] / base)
            found = take_step(job, optimizer, batch, len(losses), scale)
            losses.append(float(found["loss"]))
            step, metrics = len(losses), {"loss": losses[-1], "lr": rates[len(losses) - 1]}
            notify(Stepped(step=step, epoch=1, num_images=len(batch.indices), metrics=metrics))
            if stop:
                raise StoppedError("stopped; a range test leaves nothing behind")
            if step == num_steps or _is_lost(losses):
                break
        epoch += 1
    return losses


@contextmanager
def _undone(model: nn.Module) -> Iterator[None]:
    """Puts back the weights, the buffers and the mode that the network has now."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        for module, was_training in modes:
            module.training = was_training
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.copy_(before[name])


def _is_lost(losses: Sequence[float]) -> bool:
    if not losses:
        return False
    last = losses[-1]
    return not math.isfinite(last) or last > max(losses[0], TOO_MUCH * min(losses))


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Sweep:
    """Takes the learning rate at which the loss falls fastest.

    The losses are averaged over nine neighbouring steps; of all steps before the least averaged
    loss, the one with the steepest fall d loss / d log rate is taken. Where the loss never
    falls, it is the rate of the least loss.

    Args:
        rates: rising, in equal ratios.
        losses: of each step, finite.
    Raises:
        ConfigError: when there are fewer than three steps.
    """
    if len(losses) < 3:
        raise ConfigError(
            f"the loss was finite for {len(losses)} steps only: no learning rate can be suggested"
        )
    kept = np.asarray(losses, np.float64)
    smoothed = np.array(
        [kept[max(0, i - HALF_WINDOW) : i + HALF_WINDOW + 1].mean() for i in range(len(kept))]
    )
    lowest = int(smoothed.argmin())
    slope = np.gradient(smoothed)
    chosen = int(slope[: lowest + 1].argmin())
    if slope[chosen] >= 0:
        chosen = lowest
    return Sweep(
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed.tolist()),
        suggestion=float(rates[chosen]),
    )
