"""How a training will run on this machine: measured on its own network and pictures."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from convolens.data.base import Dataset
from convolens.data.root import cache_folder
from convolens.tasks.base import Task
from convolens.train.config import Config
from convolens.train.plan import Plan, why_no_kernels
from convolens.train.trials import Choice, candidates, choose_by_trial


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
    """
    if config.plan == "reference":
        return Choice(plan=Plan(device=device, precision="float32", channels_last=False))
    indices = torch.arange(min(config.batch_size, len(dataset.train)))
    inputs, targets = task.prepare(
        dataset.train.pictures.batch(indices),
        task.targets(dataset.train, indices),
        torch.Generator().manual_seed(0),
    )
    choice = choose_by_trial(
        network,
        plans_for(device),
        inputs,
        targets,
        task.loss,
        cache=cache or cache_folder(),
    )
    return replace(choice, missing=why_no_kernels() if device == "cpu" else None)


def plans_for(device: str) -> list[Plan]:
    """The plans worth trying on a device of this machine."""
    return candidates(device, kernels=device == "cpu" and why_no_kernels() is None)
