"""`convolens compare`."""

import json
from typing import Annotated, Any, cast

import typer

from convolens.cli.sizes import Batch, Input, Optimizer, sizes_of
from convolens.cli.table import show
from convolens.cli.words import Json


def compare(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL MODEL…", help="Two or more, each as `summary` takes it."),
    ],
    sizes: Input = None,
    batch: Batch = 1,
    optimizer: Optimizer = "sgd",
    as_json: Json = False,
) -> None:
    """Show the numbers of networks side by side, and what differs."""
    size = sizes_of(sizes)
    from convolens.workbench.compare import compare as work
    from convolens.workbench.compare import comparison_json

    graphs = work(*models, input_size=size, batch=batch, optimizer=cast("Any", optimizer))
    if as_json:
        print(json.dumps(comparison_json(graphs)))
        return
    from convolens.analysis.table.compare import compare_totals

    show(compare_totals(graphs))
