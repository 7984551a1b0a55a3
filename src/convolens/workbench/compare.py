"""`compare`: the numbers of several networks side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from convolens.analysis.summarize import Graph, Optimizer
from convolens.analysis.table.as_json import as_json
from convolens.errors import ConfigError
from convolens.workbench.design import Sizes
from convolens.workbench.summary import summarize

SHARED = ("model", "input", "batch", "totals", "uncounted", "optimizer", "ran", "notes")


def compare(
    *models: str | Path | nn.Module,
    input_size: Sizes | None = None,
    batch: int = 1,
    optimizer: Optimizer = "sgd",
) -> tuple[Graph, ...]:
    """The numbers of two networks or more, to be laid side by side.

    Args:
        models: as of `summarize`, each.
        input_size: shape of an input without the batch, the same for all; by default what each
            named network is made for.
        batch: N, pictures in the pass.
        optimizer: "sgd", "momentum" or "adam", for the memory of training.
    Returns: a Graph for each, in their order.
    Raises:
        ConfigError: when there is nothing to compare, or a word is unknown.
        ShapeError: when a network cannot read the input.
    Example:
        >>> three, one = compare(
        ...     "64x32x32 | [conv 64 3x3 p1 nobias | relu]*3", "64x32x32 | conv 64 7x7 p3 nobias"
        ... )
        >>> one.totals.params / three.totals.params
        1.8148148148148149
    """
    if len(models) < 2:
        raise ConfigError(f"compare takes two networks or more, received {len(models)}")
    return tuple(
        [summarize(model, input_size, batch=batch, optimizer=optimizer) for model in models]
    )


def comparison_json(graphs: tuple[Graph, ...]) -> dict[str, Any]:
    """The totals of each network, with the receptive field of its last layer that has one."""
    return {"models": [_column(graph) for graph in graphs]}


def _column(graph: Graph) -> Mapping[str, Any]:
    whole = as_json(graph)
    known = [row["field"] for row in whole["rows"] if row["field"] is not None]
    outputs = [list(graph.trace.shape(value)[1:]) for value in graph.trace.outputs]
    return {
        **{key: whole[key] for key in SHARED},
        "output": outputs[0] if len(outputs) == 1 else outputs,
        "layers": len(graph.rows),
        "field": known[-1] if known else None,
    }
