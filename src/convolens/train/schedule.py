"""Schedules: the learning rate of each step as a multiple of the base learning rate."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch.optim import Optimizer

from convolens.errors import ConfigError
from convolens.train.bounds import check_number, check_word

ScheduleName = Literal["constant", "step", "cosine", "onecycle"]
Anneal = Literal["cosine", "linear"]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate goes from the first step to the last.

    Args:
        name: "constant", "step", "cosine" or "onecycle".
        warmup: fraction of all steps over which the learning rate first rises, 0 to 1.
        step_size: for "step", epochs from one drop to the next.
        gamma: for "step", what the learning rate is multiplied by at each drop.
        min_factor: for "cosine", the factor towards which it falls.
        div_factor: for "onecycle", it starts at 1 / div_factor.
        final_div_factor: for "onecycle", it ends at 1 / (div_factor · final_div_factor).
        peak: for "onecycle", where the top lies, as a fraction of all steps (torch's pct_start).
        anneal: for "onecycle", the shape of the way up and down.
    Raises:
        ConfigError: when a name is unknown or a number is out of range.
    """

    name: ScheduleName = "constant"
    warmup: float = 0.0
    step_size: int = 30
    gamma: float = 0.1
    min_factor: float = 0.0
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    peak: float = 0.3
    anneal: Anneal = "cosine"

    def __post_init__(self) -> None:
        check_word("schedule.name", self.name, get_args(ScheduleName))
        check_word("schedule.anneal", self.anneal, get_args(Anneal))
        check_number("schedule.warmup", self.warmup, least=0, most=1)
        check_number("schedule.step_size", self.step_size, least=1, whole=True)
        check_number("schedule.gamma", self.gamma, above=0, most=1)
        check_number("schedule.min_factor", self.min_factor, least=0, most=1)
        check_number("schedule.div_factor", self.div_factor, least=1)
        check_number("schedule.final_div_factor", self.final_div_factor, least=1)
        check_number("schedule.peak", self.peak, least=0, most=1)


def factor(config: ScheduleConfig, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """What the base learning rate is multiplied by at one step: f(t) = warm(t) · main(t).

    With T steps in all and W = round(warmup · T), warm(t) = (t + 1) / (W + 1) while t < W, and 1
    after. The main part is

        constant  1
        step      gamma ^ floor(t / (steps_per_epoch · step_size))
        cosine    1 while t < W, then m + (1 − m)·(1 + cos(π·(t − W) / (T − W))) / 2, m = min_factor
        onecycle  from 1 / div_factor up to 1 at the peak, then down to
                  1 / (div_factor · final_div_factor) at the last step

    A pure function of the step, so a training that resumes needs no state of its schedule.

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983, equation 5, for cosine; Smith and
        Topin (2018), arXiv:1708.07120, for onecycle; Goyal et al. (2017), arXiv:1706.02677,
        section 2.2, for the warm-up.
    Args:
        config: the schedule.
        step: t, from 0 to total_steps − 1.
        total_steps: T, the steps of the whole training.
        steps_per_epoch: the steps of one epoch.
    Returns: the factor, between 0 and 1.
    Raises:
        ConfigError: when there are no steps, or the step is not one of them.
    Deviates: onecycle leaves the momentum as it is, where Smith and Topin lower it while the
        learning rate is high. As in torch, cosine never reaches its end value, which would be
        a step that learns nothing; and onecycle's way down covers all the rest of the training.
    Example:
        >>> [factor(ScheduleConfig(name="step", step_size=1), t, 6, 2) for t in (0, 1, 2)]
        [1.0, 1.0, 0.1]
    """
    check_number("total_steps", total_steps, least=1, whole=True)
    check_number("steps_per_epoch", steps_per_epoch, least=1, whole=True)
    if not 0 <= step < total_steps:
        raise ConfigError(f"step must be from 0 to {total_steps - 1}, received {step}")
    warm_steps = round(config.warmup * total_steps)
    warm = (step + 1) / (warm_steps + 1) if step < warm_steps else 1.0
    match config.name:
        case "constant":
            main = 1.0
        case "step":
            main = config.gamma ** (step // (steps_per_epoch * config.step_size))
        case "cosine":
            progress = (step - warm_steps) / max(1, total_steps - warm_steps)
            main = _anneal("cosine", 1.0, config.min_factor, max(0.0, progress))
        case "onecycle":
            main = _onecycle(config, step, total_steps)
    return warm * main


def set_learning_rate(optimizer: Optimizer, multiplier: float) -> None:
    """Sets lr = initial_lr · multiplier in every group of parameters.

    Args:
        optimizer: one made by `make_optimizer`, whose groups remember their initial_lr.
        multiplier: the schedule's `factor`.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier


def _onecycle(config: ScheduleConfig, step: int, total_steps: int) -> float:
    start = 1 / config.div_factor
    # torch's counting: the top is the last of the peak · T steps of the rise. A rise of less
    # than one step is left out, so that a training of a single step learns at the full rate.
    top = max(0.0, config.peak * total_steps - 1)
    if step < top:
        return _anneal(config.anneal, start, 1.0, step / top)
    rest = total_steps - 1 - top
    fall = (step - top) / rest if rest > 0 else 0.0
    return _anneal(config.anneal, 1.0, start / config.final_div_factor, fall)


def _anneal(shape: Anneal, start: float, end: float, progress: float) -> float:
    """The value between start and end after a fraction of the way."""
    if shape == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return start * (1 - progress) + end * progress
