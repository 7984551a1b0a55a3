"""One pass over a split without learning."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convolens.data.base import Split
from convolens.data.loader import batches
from convolens.tasks.base import Meter, Task
from convolens.train.distributed import ALONE, Processes
from convolens.train.plan import Plan
from convolens.train.stop import StoppedError, StopRequest

EVAL_BATCH_SIZE = 500


class _Seen(NamedTuple):
    """What a network made of one batch."""

    indices: Tensor
    outputs: Tensor
    targets: Tensor


def evaluate(
    model: nn.Module,
    task: Task,
    split: Split,
    plan: Plan,
    processes: Processes = ALONE,
    stop: StopRequest | None = None,
) -> Meter:
    """The metrics of a network on a split; it is left in the mode in which it was.

    Several processes take turns, a batch each, and all of them end with the meter that one
    process would have.

    Raises:
        StoppedError: when a stop was requested; several processes go on to the end.
    """
    meter = task.meter(len(split))
    chunks = torch.split(torch.arange(len(split)), EVAL_BATCH_SIZE)
    own = chunks[processes.rank :: processes.world_size]
    order = torch.cat([torch.arange(0), *own])  # of more processes than batches, some have none
    with _evaluating(model), torch.inference_mode():
        passes = _passes(model, task, split, plan, order)
        if processes.world_size > 1:
            passes = iter(_gathered(passes, plan, processes))
            stop = None  # all have finished already
        for seen in passes:
            meter.update(*seen)
            if stop and seen.indices[-1] < len(split) - 1:
                raise StoppedError("stopped before the metrics were complete")
    return meter


def _passes(
    model: nn.Module, task: Task, split: Split, plan: Plan, order: Tensor
) -> Iterator[_Seen]:
    """The network's outputs for the pictures of `order`, a batch at a time."""
    for batch in batches(split, order, EVAL_BATCH_SIZE, damaged="drop"):
        targets = task.targets(split, batch.indices).to(plan.device)
        pixels, targets = task.prepare(batch.pixels.to(plan.device), targets, None)
        with plan.autocast():
            outputs = model(plan.arrange(pixels))
        yield _Seen(batch.indices, outputs, targets)


def _gathered(passes: Iterator[_Seen], plan: Plan, processes: Processes) -> list[_Seen]:
    """The batches of all processes, on the plan's device, in the order of one process."""
    own: dict[str, Tensor] = {}
    for seen in passes:
        # No two batches begin with the same picture.
        place = f"{int(seen.indices[0]):012d}"
        own |= {f"{place}.{name}": value for name, value in seen._asdict().items()}
    found = processes.gather(own)
    places = sorted({name.partition(".")[0] for name in found})
    return [
        _Seen(
            found[f"{place}.indices"],
            found[f"{place}.outputs"].to(plan.device),
            found[f"{place}.targets"].to(plan.device),
        )
        for place in places
    ]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """While inside, the network evaluates; then every module has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]  # frozen norms have theirs
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training
