"""A Graph as a JSON document."""

from dataclasses import asdict
from typing import Any

from convolens.analysis.field import Textbook, textbook_of
from convolens.analysis.summarize import Graph
from convolens.analysis.table.remarks import warnings_of


def as_json(graph: Graph) -> dict[str, Any]:
    """The numbers of a Graph as plain dicts, lists, strings and whole numbers.

    `input` is a list of lists where the network has several inputs. Each row's `field` is null
    where the receptive field has no textbook form.

    Args:
        graph: what `summarize` gave.
    Returns: "model", "input", "batch", "rows", "totals", "uncounted"; and "optimizer", "ran",
        "unused", "notes" and "warnings".
    """
    inputs = [list(shape[1:]) for shape in graph.inputs]
    fields = textbook_of(graph.trace) if graph.trace.inputs else {}
    return {
        "model": graph.model,
        "input": inputs[0] if len(inputs) == 1 else inputs,
        "batch": graph.batch,
        "rows": [
            {
                "name": row.name,
                "type": row.kind,
                "output": list(row.output),
                "params": row.params,
                "macs": row.macs,
                "flops": row.flops,
                "saved_bytes": row.saved_bytes,
                "field": _field(fields.get(row.value)),
            }
            for row in graph.rows
        ],
        "totals": asdict(graph.totals),
        "uncounted": [asdict(uncounted) for uncounted in graph.uncounted],
        "optimizer": graph.optimizer,
        "ran": graph.ran,
        "unused": list(graph.unused),
        "notes": list(graph.notes),
        "warnings": list(warnings_of(graph)),
    }


def _field(field: Textbook | None) -> dict[str, list[int]] | None:
    if field is None:
        return None
    return {"size": list(field.size), "stride": list(field.stride), "start": list(field.start)}
