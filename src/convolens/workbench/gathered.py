"""What a Run still holds: each piece, or why it cannot be had."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from convolens.analysis.summarize import Graph, Optimizer
from convolens.data.base import Split
from convolens.errors import ConvolensError, RunError
from convolens.tasks.classify import ClassifyMeter
from convolens.train.evaluation import evaluate
from convolens.train.files import read_json
from convolens.workbench.own_pictures import own_test_pictures
from convolens.workbench.run import Run
from convolens.workbench.summary import summarize
from convolens.workbench.views import with_views

T = TypeVar("T")


@dataclass(frozen=True)
class Lacking:
    """Something that cannot be had, and why, in one line."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A network's pass over its test pictures.

    Args:
        labels: the true class of each picture, (N,).
    """

    split: Split
    meter: ClassifyMeter
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """All that a Run holds, as far as it is whole.

    Args:
        device: where its network computes.
        test: what `test.json` holds; it is lacking while the training is not complete.
        epochs: the rows of `metrics.csv`.
        env: what `env.json` holds.
        graph: every number of the network.
        network: with its trained weights, ready to predict.
        tested: the test, repeated.
    """

    run: Run
    device: str
    test: dict[str, Any] | Lacking
    epochs: list[dict[str, float]] | Lacking
    env: dict[str, Any] | Lacking
    graph: Graph | Lacking
    network: nn.Module | Lacking
    tested: Evaluated | Lacking


def tried(build: Callable[[], T]) -> T | Lacking:
    """What a function gives, or the error that it raised."""
    try:
        return build()
    except ConvolensError as error:
        return Lacking(" ".join(str(error).split()))
    except Exception as error:  # a network of the user's raises what it likes; the rest is shown
        return Lacking(f"{type(error).__name__}: {' '.join(str(error).split())}")


def gather(run: Run, data_root: str | Path | None = None, device: str | None = None) -> Gathered:
    """Reads a Run, and repeats its test.

    Args:
        data_root: where named datasets are; None is where they were.
        device: "cpu" or "cuda"; None is the Run's.
    Raises:
        UnavailableError: when the device is wanted and there is none.
        RunError: when the Run's configuration is damaged.
    """
    plan = run.plan(device)
    network = tried(lambda: run.network(device))
    if isinstance(network, Lacking):
        tested: Evaluated | Lacking = network
    else:
        net = network
        tested = tried(lambda: _tested(run, net, data_root, device))
    return Gathered(
        run=run,
        device=plan.device,
        test=tried(lambda: run.test),
        epochs=tried(lambda: run.rows),
        env=tried(lambda: _environment(run)),
        graph=tried(lambda: graph_of(run)),
        network=network,
        tested=tested,
    )


def graph_of(run: Run) -> Graph:
    """Every number of the network, with the memory that the Run's kind of optimizer takes."""
    used = run.config.optimizer
    kind: Optimizer = "momentum" if used.momentum else "sgd"
    if "adam" in used.name:
        kind = "adam"
    return summarize(run.path, name=run.config.model.name, optimizer=kind)


def _environment(run: Run) -> dict[str, Any]:
    tree = read_json(run.folder.env_file)
    if not isinstance(tree, dict):
        raise RunError(f"{run.folder.env_file} is damaged: it is no object")
    return tree


def _tested(
    run: Run, network: nn.Module, data_root: str | Path | None, device: str | None
) -> Evaluated:
    task = run.classifier
    split = own_test_pictures(run, data_root)
    views = with_views(network, run.config.tta)
    meter = cast("ClassifyMeter", evaluate(views, task, split, run.plan(device)))
    labels = task.targets(split, torch.arange(len(split)))
    return Evaluated(split=split, meter=meter, labels=labels)
