"""`convolens eval`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from convolens.cli.words import DataRoot, Device, Json, Tta


def evaluate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [DATA]",
            help="Folders that `train` has left; last, another dataset with the same classes.",
        ),
    ],
    tta: Tta = None,
    data_root: DataRoot = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Repeat a Run's metrics on the test split; of several Runs, average the probabilities."""
    from convolens.workbench.evaluate import evaluate as work
    from convolens.workbench.run import Run

    runs, data = split_words(words)
    opened = [Run.open(run) for run in runs]
    found = work(opened, data, data_root=data_root, device=device, tta=tta)
    dataset = data or opened[0].facts["dataset"]
    each = [
        {"run": str(run.path), "metrics": _named(metrics)}
        for run, metrics in zip(opened, found.each, strict=True)
    ]
    if as_json:
        tree: dict[str, Any]
        if len(each) == 1:
            tree = {"run": each[0]["run"], "dataset": dataset, "metrics": each[0]["metrics"]}
        else:
            tree = {"runs": each, "dataset": dataset, "metrics": _named(found.metrics)}
        print(json.dumps(tree))
        return
    if len(each) == 1:
        _show(_named(found.each[0]))
        return
    for run, metrics in zip(opened, found.each, strict=True):
        print(run.path)
        _show(_named(metrics), indent="  ")
    print(f"all {len(each)}, probabilities averaged")
    _show(_named(found.metrics), indent="  ")


def split_words(words: list[str]) -> tuple[list[str], str | None]:
    """The Runs, and the dataset where the last word is no Run: a Run has a config.json."""
    *others, last = words
    if others and not (Path(last) / "config.json").is_file():
        return others, last
    return words, None


def _named(metrics: Any) -> dict[str, float]:
    return {f"test_{name}": value for name, value in metrics.items()}


def _show(metrics: dict[str, float], indent: str = "") -> None:
    for name, value in metrics.items():
        print(f"{indent}{name}  {value!r}")
