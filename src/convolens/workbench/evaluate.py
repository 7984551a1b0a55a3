"""`eval`: the metrics of a Run, or of several together, on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, overload

import torch
from torch import Tensor, nn

from convolens.data.base import Dataset, Split
from convolens.errors import ConfigError, DataError
from convolens.tasks.classify import ClassifyMeter
from convolens.train.config import DataConfig, Tta
from convolens.train.evaluation import evaluate as evaluate_split
from convolens.workbench.material import load
from convolens.workbench.own_pictures import own_data
from convolens.workbench.proposals import proposed
from convolens.workbench.run import Run
from convolens.workbench.tasks import check_views, names_for
from convolens.workbench.views import mean_log_probability, with_views

RunWord = str | Path | Run


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The metrics of several Runs on the same pictures.

    Args:
        metrics: of the mean of their probabilities.
        each: of each Run by itself, in their order.
    """

    metrics: Mapping[str, float]
    each: tuple[Mapping[str, float], ...]


@overload
def evaluate(  # type: ignore[overload-overlap]  # a str is a Sequence of str, and names one Run
    run: RunWord,
    data: str | None = None,
    *,
    data_root: str | Path | None = None,
    device: str | None = None,
    tta: Tta | None = None,
) -> dict[str, float]: ...


@overload
def evaluate(
    run: Sequence[RunWord],
    data: str | None = None,
    *,
    data_root: str | Path | None = None,
    device: str | None = None,
    tta: Tta | None = None,
) -> Ensemble: ...


def evaluate(
    run: RunWord | Sequence[RunWord],
    data: str | None = None,
    *,
    data_root: str | Path | None = None,
    device: str | None = None,
    tta: Tta | None = None,
) -> dict[str, float] | Ensemble:
    """The metrics of a Run's network on a test split, or of several networks together.

    Args:
        run: a Run or its folder, or several, whose probabilities are averaged.
        data: another dataset with the same classes; None is the Run's own.
        data_root: where named datasets are; None is where they were.
        device: "cpu" or "cuda"; None is the Run's.
        tta: views of a picture that are averaged, as of `Run.predict`; None is the Run's.
    Returns: metrics by name, for one Run; on its own data and machine they are those of its
        training to the last digit. An Ensemble for several.
    Raises:
        DataError: when the dataset's classes are not the Run's.
        ConfigError: when several Runs have other classes or other test pictures.
        RunError: when a Run is damaged.
    """
    if isinstance(run, str | Path | Run):
        opened = Run.open(run)
        test = _dataset(opened, _wanted(opened, data, data_root)).test
        return _metrics(opened, test, device, tta)
    runs = [Run.open(word) for word in run]
    if not runs:
        raise ConfigError("eval needs at least one Run")
    if len(runs) == 1:
        metrics = evaluate(runs[0], data, data_root=data_root, device=device, tta=tta)
        return Ensemble(metrics=metrics, each=(metrics,))
    for other in runs:
        if other.config.task != "classify":
            raise ConfigError(
                f"several Runs can be evaluated together where they classify; {other.path} is "
                f"there to {other.config.task}"
            )
    for other in runs[1:]:
        if other.task.class_names != runs[0].task.class_names:
            raise ConfigError(
                f"Runs that are evaluated together need the same classes: {runs[0].path} has "
                f"{_listed(runs[0].task.class_names)}, {other.path} has "
                f"{_listed(other.task.class_names)}"
            )
    return _evaluate_together(runs, data, data_root, device, tta)


def _evaluate_together(
    runs: Sequence[Run],
    data: str | None,
    data_root: str | Path | None,
    device: str | None,
    tta: Tta | None,
) -> Ensemble:
    """Each Run sees the same pictures in its own picture format."""
    datasets: dict[DataConfig, Dataset] = {}
    tests: list[Split] = []
    for run in runs:
        wanted = _wanted(run, data, data_root)
        if wanted not in datasets:
            datasets[wanted] = _dataset(run, wanted)
        tests.append(datasets[wanted].test)
        # Two folders may hold other pictures under the same names, so both are compared.
        first = _wanted(runs[0], data, data_root)
        if wanted.name != first.name or [*tests[-1].names] != [*tests[0].names]:
            raise ConfigError(
                f"Runs that are evaluated together need the same test pictures, "
                f"{runs[0].path} and {run.path} have others",
                "Name a dataset after the Runs: convolens eval RUN RUN DATA",
            )
    found = [_outputs(run, test, device, tta) for run, test in zip(runs, tests, strict=True)]
    task = runs[0].task
    meter = task.meter(len(tests[0]))
    # A picture that cannot be read was left out; NaN stands in its row.
    together = mean_log_probability([outputs for _, outputs in found])
    seen = torch.nonzero(together.isfinite().all(dim=1)).flatten()
    meter.update(seen, task.results(together[seen], task.targets(tests[0], seen)))
    return Ensemble(metrics=meter.metrics(), each=tuple(metrics for metrics, _ in found))


def _wanted(run: Run, data: str | None, data_root: str | Path | None) -> DataConfig:
    wanted = own_data(run, data_root)
    return wanted if data is None else replace(wanted, name=data)


def _dataset(run: Run, wanted: DataConfig) -> Dataset:
    dataset = load(replace(run.config, data=wanted))
    names = names_for(run.config.task, dataset)
    if names != run.task.class_names:
        raise DataError(
            f"{dataset.name} has the classes {_listed(names)}, "
            f"the Run was trained on {_listed(run.task.class_names)}"
        )
    return dataset


def _metrics(run: Run, test: Split, device: str | None, tta: Tta | None) -> dict[str, float]:
    """A Run's metrics on a split."""
    network = run.network(device)
    views = with_views(network, check_views(run.config.task, tta or run.config.tta))
    return evaluate_split(views, run.task, proposed(test, network), run.plan(device)).metrics()


def _outputs(
    run: Run, test: Split, device: str | None, tta: Tta | None
) -> tuple[dict[str, float], Tensor]:
    """A Run's metrics, and its logits (N, K); NaN for a picture that could not be read."""
    network = _Remembering(with_views(run.network(device), tta or run.config.tta))
    meter = evaluate_split(network, run.task, test, run.plan(device))
    logits = torch.full((len(test), len(run.task.class_names)), float("nan"))
    # Batches come in the order of the pictures, so the k-th row is the k-th picture seen.
    logits[cast("ClassifyMeter", meter).predicted >= 0] = torch.cat(network.outputs)
    return meter.metrics(), logits


class _Remembering(nn.Module):
    """The same network, whose outputs are kept."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.network(x)
        self.outputs.append(output.float().cpu())
        return output


def _listed(names: tuple[str, ...], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
