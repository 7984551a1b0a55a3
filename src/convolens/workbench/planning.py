"""How a training will run on this machine: measured on its own network and pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from convolens.data.base import Dataset
from convolens.data.root import cache_folder
from convolens.tasks.base import Task
from convolens.train.choice import Choice
from convolens.train.config import Config
from convolens.train.optimizer import needs_closure
from convolens.train.plan import Plan, Precision, half_of_kernels, why_no_kernels
from convolens.train.trials import candidates, choose_by_trial


def choose_plan(
    config: Config,
    dataset: Dataset,
    task: Task,
    network: nn.Module,
    device: str,
    *,
    cache: Path | None = None,
) -> Choice:
    """The plan of a configuration: the reference, or the fastest that agrees with it.

    Args:
        network: with its initial weights, on the CPU; it stays as it was.
        cache: where choices are remembered; None is a cache folder of the user's.
    Raises:
        UnavailableError: when the precision that the configuration wants does not suit the
            network.
    """
    asked = config.plan
    if asked.choose == "reference":
        precision: Precision = "float32" if asked.precision == "auto" else asked.precision
        return Choice(plan=Plan(device=device, precision=precision, channels_last=False))
    # A batch goes through the network in `accumulate` parts, so one of them is tried.
    indices = torch.arange(-(-config.batch_size // config.accumulate))
    inputs, targets = task.prepare(
        dataset.train.pictures.batch(indices),
        task.targets(dataset.train, indices),
        torch.Generator().manual_seed(0),
    )
    plans = plans_for(device, asked.precision)
    if needs_closure(config.optimizer):  # a line search cannot leave out a step
        plans = [plan for plan in plans if plan.precision != "float16"]
    choice = choose_by_trial(
        network,
        plans,
        inputs,
        targets,
        task.loss,
        cache=cache or cache_folder(),
        asked=asked,
        num_passes=len(dataset.train) // config.batch_size * config.accumulate * config.epochs,
    )
    return replace(choice, missing=why_no_kernels() if device == "cpu" else None)


def plans_for(device: str, precision: Precision | Literal["auto"] = "auto") -> list[Plan]:
    """The plans worth trying on a device of this machine, of one precision or of all."""
    kernels = device == "cpu" and why_no_kernels() is None
    half = half_of_kernels() if device == "cpu" else None
    return candidates(device, kernels=kernels, precision=precision, half=half)
