"""Networks side by side: their totals, and where their layers differ."""

from collections.abc import Callable, Sequence

from convolens.analysis.field import textbook_of
from convolens.analysis.rows import Row
from convolens.analysis.summarize import Graph
from convolens.analysis.table.lines import Column, Line, Lines, field_text
from convolens.analysis.table.numbers import NOTHING, bytes_text, grouped, short, volume
from convolens.errors import ConfigError

MOST_DIFFERENCES = 24


def compare_totals(graphs: Sequence[Graph]) -> Lines:
    """The totals of networks side by side, with a factor against the first, and what differs.

    Args:
        graphs: what `summarize` gave, two or more.
    Returns: a table with a column for each network; the remarks say how many layers of each type
        and volume each has, where that differs from the first.
    Raises:
        ConfigError: when there is nothing to compare.
    """
    if len(graphs) < 2:
        raise ConfigError(f"compare takes two networks or more, received {len(graphs)}")
    columns = (
        Column(title="", align="left"),
        *(Column(title=graph.model, least=12) for graph in graphs),
    )
    remarks = [text for other in graphs[1:] for text in _differences(graphs[0], other)]
    return Lines(
        title=" against ".join(graph.model for graph in graphs),
        columns=columns,
        lines=(*_number_lines(graphs), *_text_lines(graphs)),
        remarks=tuple(remarks),
    )


def _number_lines(graphs: Sequence[Graph]) -> list[Line]:
    quantities: tuple[tuple[str, Callable[[Graph], int], Callable[[int], str]], ...] = (
        ("params", lambda g: g.totals.params, grouped),
        ("MACs", lambda g: g.totals.macs, short),
        ("FLOPs", lambda g: g.totals.flops, short),
        ("saved for backward", lambda g: g.totals.saved_bytes, bytes_text),
        ("inference peak", lambda g: g.totals.inference_peak_bytes, bytes_text),
        ("training peak", lambda g: g.totals.training_peak_bytes, bytes_text),
        ("layers", lambda g: len(g.rows), grouped),
    )
    lines = []
    for label, of, show in quantities:
        first = of(graphs[0])
        cells = [show(of(graph)) + _factor(of(graph), first) for graph in graphs]
        lines.append(Line(cells=(label, *cells)))
    return lines


def _factor(number: int, first: int) -> str:
    if not first or number == first:
        return ""
    factor = number / first
    return f" (×{factor:.2f})" if factor < 100 else f" (×{factor:,.0f})"


def _text_lines(graphs: Sequence[Graph]) -> list[Line]:
    inputs = [", ".join(volume(shape[1:]) for shape in graph.inputs) for graph in graphs]
    outputs = [
        ", ".join(volume(graph.trace.shape(value)[1:]) for value in graph.trace.outputs)
        for graph in graphs
    ]
    fields = [_last_field(graph) for graph in graphs]
    return [
        Line(cells=("receptive field", *fields)),
        Line(cells=("input", *inputs)),
        Line(cells=("output", *(output or NOTHING for output in outputs))),
    ]


def _last_field(graph: Graph) -> str:
    """Of the last layer that has one in the textbook form."""
    fields = textbook_of(graph.trace) if graph.trace.inputs else {}
    known = [fields[row.value] for row in graph.rows if row.value in fields]
    return field_text(known[-1:]) if known else NOTHING


def _differences(first: Graph, other: Graph) -> list[str]:
    """How many layers of each type and volume the two have, where that or their weights differ."""
    ours, theirs = _counted(first.rows), _counted(other.rows)
    texts = []
    for kind, output in dict.fromkeys((*ours, *theirs)):
        before, after = ours.get((kind, output), (0, 0)), theirs.get((kind, output), (0, 0))
        if before == after:
            continue
        layers = f"{grouped(before[0])} → {grouped(after[0])}"
        params = f", params {grouped(before[1])} → {grouped(after[1])}"
        weights = params if before[1] != after[1] else ""
        texts.append(f"  {kind} {volume(output)}: {layers}{weights}")
    if not texts:
        return [f"{first.model} and {other.model} have the same layers"]
    more = len(texts) - MOST_DIFFERENCES
    rest = [f"  … and {grouped(more)} more"] if more > 0 else []
    return [f"layers of {first.model} → {other.model}:", *texts[:MOST_DIFFERENCES], *rest]


def _counted(rows: Sequence[Row]) -> dict[tuple[str, tuple[int, ...]], tuple[int, int]]:
    """Number and parameters of the layers of each type and output volume."""
    found: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
    for row in rows:
        times, params = found.get((row.kind, row.output), (0, 0))
        found[row.kind, row.output] = (times + 1, params + row.params)
    return found
