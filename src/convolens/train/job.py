"""What one training works on, and the random numbers and orders that its seed decides."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convolens.data.base import Split
from convolens.errors import ConfigError
from convolens.tasks.base import Task
from convolens.train.config import Config
from convolens.train.distributed import ALONE, Processes
from convolens.train.plan import Plan
from convolens.train.run import RunFolder


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that one training works on."""

    config: Config
    model: nn.Module
    task: Task
    train: Split
    val: Split | None
    plan: Plan
    folder: RunFolder
    processes: Processes = ALONE

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train) // self.config.batch_size


def check_job(config: Config, num_train: int, *, has_val: bool) -> None:
    """Raises ConfigError when the configuration contradicts itself or does not fit the data."""
    if config.batch_size > num_train:
        raise ConfigError(
            f"batch_size {config.batch_size} is larger than the {num_train} training pictures",
            f"Choose --batch {num_train} or less.",
        )
    if config.accumulate > config.batch_size:
        raise ConfigError(
            f"accumulate must be at most batch_size, received {config.accumulate} parts of "
            f"{config.batch_size} pictures"
        )
    if config.clip_norm and config.optimizer.name == "lbfgs":
        raise ConfigError(
            "clip_norm cannot be used with lbfgs, whose line search needs the gradient as it is",
            "Set clip_norm=0, or take another optimizer.",
        )
    if config.plan.precision == "float16" and config.optimizer.name == "lbfgs":
        raise ConfigError(
            "plan.precision=float16 cannot be used with lbfgs, whose line search cannot leave out "
            "a step",
            "Take another precision, or another optimizer.",
        )
    if config.stop.patience and not has_val:
        raise ConfigError(
            "stop.patience needs validation pictures, and there are none",
            "Set data.val_fraction above 0, or stop.patience=0.",
        )


def step_seed(seed: int, stream: int, index: int) -> int:
    """A seed for one step or epoch that shares no bits with its neighbours' (SplitMix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + index + 1) * 0x9E3779B97F4A7C15
    z &= 2**64 - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (z ^ (z >> 31)) >> 1


def epoch_order(seed: int, epoch: int, num_train: int) -> Tensor:
    """The order of the training pictures in one epoch."""
    generator = torch.Generator().manual_seed(step_seed(seed, 1, epoch))
    return torch.randperm(num_train, generator=generator)
