"""One pass over a split without learning."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convolens.data.base import Split
from convolens.data.loader import batches
from convolens.tasks.base import Meter, Task
from convolens.train.distributed import ALONE, Processes
from convolens.train.plan import Plan
from convolens.train.stop import StoppedError, StopRequest

MOST_PICTURES, MOST_PIXELS = 500, 1 << 20  # in one batch


class _Seen(NamedTuple):
    """What a network made of one batch."""

    indices: Tensor
    results: Mapping[str, Tensor]


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
    batch_size = batch_size_for(split)
    chunks = torch.split(torch.arange(len(split)), batch_size)
    own = chunks[processes.rank :: processes.world_size]
    order = torch.cat([torch.arange(0), *own])  # of more processes than batches, some have none
    with _evaluating(model), torch.inference_mode():
        passes = _passes(model, task, split, plan, order, batch_size)
        if processes.world_size > 1:
            passes = iter(_gathered(passes, plan, processes))
            stop = None  # all have finished already
        for seen in passes:
            meter.update(*seen)
            if stop and seen.indices[-1] < len(split) - 1:
                raise StoppedError("stopped before the metrics were complete")
    return meter


def batch_size_for(split: Split) -> int:
    """How many pictures of a split go through a network at once: fewer of large ones."""
    if not len(split):
        return 1
    height, width = split.pictures.batch(torch.tensor([0])).shape[2:]
    return max(1, min(MOST_PICTURES, MOST_PIXELS // (height * width)))


def _passes(
    model: nn.Module, task: Task, split: Split, plan: Plan, order: Tensor, batch_size: int
) -> Iterator[_Seen]:
    """The network's outputs for the pictures of `order`, a batch at a time."""
    for batch in batches(split, order, batch_size, damaged="drop"):
        targets = task.targets(split, batch.indices).to(plan.device)
        pixels, targets = task.prepare(batch.pixels.to(plan.device), targets, None)
        plan.seed(int(batch.indices[0]))  # a detector's loss may be of regions chosen at random
        with plan.autocast():
            outputs = model(plan.arrange(pixels))
        yield _Seen(batch.indices, task.results(outputs, targets))


def _gathered(passes: Iterator[_Seen], plan: Plan, processes: Processes) -> list[_Seen]:
    """The batches of all processes, on the plan's device, in the order of one process."""
    own: dict[str, Tensor] = {}
    for seen in passes:
        # No two batches begin with the same picture.
        place = f"{int(seen.indices[0]):012d}"
        own |= {f"{place}.{name}": value for name, value in seen.results.items()}
        own[f"{place}."] = seen.indices
    batches: dict[str, dict[str, Tensor]] = {}
    for key, value in processes.gather(own).items():
        place, _, name = key.partition(".")
        batches.setdefault(place, {})[name] = value
    return [
        _Seen(
            batches[place].pop(""),
            {name: value.to(plan.device) for name, value in batches[place].items()},
        )
        for place in sorted(batches)
    ]


def outputs_of(model: nn.Module, task: Task, split: Split, plan: Plan) -> Callable[[Tensor], Any]:
    """A function that gives a network's outputs for the pictures at some places of a split."""

    def predict(indices: Tensor) -> Any:
        inputs = task.inputs(split.pictures.batch(indices).to(plan.device))
        with _evaluating(model), torch.inference_mode(), plan.autocast():
            return model(plan.arrange(inputs))

    return predict


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
