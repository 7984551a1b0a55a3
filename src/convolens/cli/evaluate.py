"""`convolens eval`."""

import json
from typing import Annotated

import typer

from convolens.cli.words import DataRoot, Device, Json, RunPath


def evaluate(
    run: RunPath,
    data: Annotated[
        str | None,
        typer.Argument(help="Another dataset with the same classes.", show_default="the Run's own"),
    ] = None,
    data_root: DataRoot = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Repeat a Run's metrics on the test split."""
    from convolens.workbench.evaluate import evaluate as work
    from convolens.workbench.run import Run

    opened = Run.open(run)
    metrics = work(opened, data, data_root=data_root, device=device)
    named = {f"test_{name}": value for name, value in metrics.items()}
    if as_json:
        dataset = data or opened.facts["dataset"]
        print(json.dumps({"run": str(opened.path), "dataset": dataset, "metrics": named}))
        return
    for name, value in named.items():
        print(f"{name}  {value!r}")
