"""What a person reads of a Graph, as rows of text with a layout; drawn by whoever shows it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from convolens.analysis.field import Textbook, textbook_of
from convolens.analysis.rows import Row
from convolens.analysis.summarize import Graph
from convolens.analysis.table.numbers import (
    LEGEND,
    NOTHING,
    WHOLE,
    bytes_text,
    grouped,
    short,
    sides,
    volume,
)
from convolens.analysis.table.remarks import remarks_of
from convolens.analysis.table.tree import Block, Leaf, Node, Repeat, folded, rows_below, tree_of

Role = Literal["row", "fold"]
BAR_CELLS = 10
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Args:
        title: above the column; empty for the one of names.
        align: where the cells stand.
        least: characters down to which cells may be cut; 0 where they may not.
        leaves: when the table is too wide, columns go in this order; 0 for one that stays.
    """

    title: str
    align: Literal["left", "right"] = "right"
    least: int = 0
    leaves: int = 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table: a cell for each column.

    Args:
        cells: one string for each column.
        depth: how many folds the line stands in; its name is to be indented so far.
        role: "fold" for the heading of repeated blocks.
    """

    cells: tuple[str, ...]
    depth: int = 0
    role: Role = "row"


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A table with what stands around it.

    Args:
        title: what it is of.
        columns: from left to right.
        lines: from top to bottom.
        totals: label and value of each number of the whole.
        remarks: warnings and notes, most urgent first.
    """

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    totals: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


COLUMNS = (
    Column(title="layer", align="left", least=14),
    Column(title="type", align="left", least=10, leaves=4),
    Column(title="output"),
    Column(title="params"),
    Column(title="MACs"),
    Column(title="FLOPs", leaves=1),
    Column(title="saved", leaves=2),
    Column(title="field", leaves=3),
)
Fields = Mapping[int, Textbook]


def lines_of(graph: Graph, fold: bool = True, *, bars: bool = False) -> Lines:
    """The table of layers: type, output, parameters, MACs, FLOPs, saved bytes, receptive field.

    The heading of a fold adds up all of its blocks; the lines below it are of each block, and
    `a…b` is a number that goes from a in the first block to b in the last.

    Args:
        graph: what `summarize` gave.
        fold: whether blocks that are alike are shown once, with "×3".
        bars: whether a bar shows each layer's part of the MACs.
    Returns: the table.
    """
    tree = tree_of(graph)
    nodes = folded(tree).children if fold else tuple(Leaf((row,)) for row in graph.rows)
    fields = textbook_of(graph.trace) if graph.trace.inputs else {}
    lines = tuple(_written(nodes, fields, _bars(graph) if bars else {}, _Place()))
    columns = (*COLUMNS, Column(title="part of MACs", align="left", leaves=1)) if bars else COLUMNS
    return Lines(
        title=title_of(graph),
        columns=columns,
        lines=lines,
        totals=totals_of(graph),
        remarks=(*remarks_of(graph), *_legend(lines)),
    )


def title_of(graph: Graph) -> str:
    """The network, its input and the batch."""
    inputs = ", ".join(volume(shape[1:]) for shape in graph.inputs)
    return f"{graph.model}: input {inputs}, batch {graph.batch}"


def totals_of(graph: Graph) -> tuple[tuple[str, str], ...]:
    """Label and value of each total."""
    t = graph.totals
    frozen = t.params - t.trainable_params
    return (
        ("params", grouped(t.params) + (f", of which {grouped(frozen)} frozen" if frozen else "")),
        ("MACs", _exact_and_short(t.macs)),
        ("FLOPs", _exact_and_short(t.flops)),
        ("memory of parameters", bytes_text(t.param_bytes)),
        ("memory of buffers", bytes_text(t.buffer_bytes)),
        ("saved for backward", bytes_text(t.saved_bytes)),
        ("inference peak", bytes_text(t.inference_peak_bytes)),
        (
            "training peak",
            f"{bytes_text(t.training_peak_bytes)} with {graph.optimizer}: "
            f"gradients {bytes_text(t.gradient_bytes)}, "
            f"optimizer state {bytes_text(t.optimizer_bytes)}",
        ),
    )


def field_text(fields: Sequence[Textbook | None]) -> str:
    """Size and stride of a receptive field, from the first block to the last.

    Example:
        >>> field_text([Textbook((11, 11), (4, 4), (0, 0))])
        '11 /4'
    """
    known = [field for field in fields if field is not None and field.size]
    if len(known) < len(fields) or not known:
        return NOTHING
    size = _range([sides(field.size) for field in known])
    return f"{size} /{_range([sides(field.stride) for field in known])}"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where lines are written: how deep, in how many blocks laid on one another, below what."""

    depth: int = 0
    layers: int = 1
    prefix: str = ""


def _written(
    nodes: Sequence[Node], fields: Fields, bars: Mapping[str, str], place: _Place
) -> Iterator[Line]:
    for node in nodes:
        if isinstance(node, Leaf):
            yield _row_line(node.rows, fields, bars, place)
        elif isinstance(node, Block):
            yield from _written(node.children, fields, bars, place)
        else:
            yield _fold_line(node, fields, bars, place)
            inner = _Place(
                depth=place.depth + 1, layers=place.layers * node.times, prefix=_prefix(node)
            )
            yield from _written(node.nodes, fields, bars, inner)


def _prefix(node: Repeat) -> str:
    """What the names below a fold need not repeat."""
    name = _names(_chief(node)[0])[0]
    is_block = len(node.nodes) == 1 and isinstance(node.nodes[0], Block)
    return f"{name}." if is_block else name[: name.rfind(".") + 1]


def _chief(node: Repeat) -> Sequence[Node]:
    """The nodes that a fold is named after: its modules, where there are any."""
    return [n for n in node.nodes if isinstance(n, Block)] or node.nodes


def _row_line(rows: Sequence[Row], fields: Fields, bars: Mapping[str, str], place: _Place) -> Line:
    cells = (
        rows[0].name.removeprefix(place.prefix) or WHOLE,
        rows[0].kind,
        _volumes([row.output for row in rows]),
        _numbers([row.params for row in rows], short),
        _numbers([row.macs for row in rows], short),
        _numbers([row.flops for row in rows], short),
        _numbers([row.saved_bytes for row in rows], bytes_text),
        field_text([fields.get(row.value) for row in rows]),
    )
    return Line(cells=(*cells, *_bar(bars, rows[0])), depth=place.depth)


def _fold_line(node: Repeat, fields: Fields, bars: Mapping[str, str], place: _Place) -> Line:
    """The heading of repeated blocks, which adds them up."""
    blocks = [rows_below(node.nodes, layer, place.layers) for layer in range(place.layers)]
    # Rows come one layer of the pile after the other: the last to run ends the last block.
    last = [max(rows, key=lambda row: row.operations[-1:]) for rows in blocks]
    kinds = [n.kind if isinstance(n, Block) else _first_row(n).kind for n in node.nodes]
    kind = kinds[0] if len(kinds) == 1 else f"[{' '.join(kinds)}]"
    cells = (
        _span(node, place.prefix),
        f"{kind} ×{node.times}",
        _volumes([row.output for row in last]),
        _numbers([sum(row.params for row in rows) for rows in blocks], short),
        _numbers([sum(row.macs for row in rows) for rows in blocks], short),
        _numbers([sum(row.flops for row in rows) for rows in blocks], short),
        _numbers([sum(row.saved_bytes for row in rows) for rows in blocks], bytes_text),
        field_text([fields.get(row.value) for row in last]),
    )
    bar = ("",) if bars else ()
    return Line(cells=(*cells, *bar), depth=place.depth, role="fold")


def _first_row(node: Node) -> Row:
    return rows_below([node])[0]


def _span(node: Repeat, prefix: str) -> str:
    """From one name to another, what they have in common said once: layer1.1–2."""
    chief = _chief(node)
    begins, ends = _names(chief[0]), _names(chief[-1])
    begin = begins[0].removeprefix(prefix)
    end = ends[len(ends) - len(ends) // node.times].removeprefix(prefix)
    if begin == end:
        return begin
    parent, _, own = begin.rpartition(".")
    other_parent, _, other = end.rpartition(".")
    if parent != other_parent:
        return f"{begin}–{end}"
    stem = own.rstrip("0123456789")
    number = other.removeprefix(stem)
    return f"{begin}–{number if stem != own and number.isdigit() else other}"


def _names(node: Node) -> Sequence[str]:
    if isinstance(node, Block):
        return node.paths
    return [row.name for row in rows_below([node])]


def _range(texts: Sequence[str]) -> str:
    """The first and the last, where they differ; their unit once, where it is the same.

    Example:
        >>> _range(["25.69 M", "89.92 M"]), _range(["784 KiB", "0 B"])
        ('25.69…89.92 M', '784 KiB…0 B')
    """
    first, last = texts[0], texts[-1]
    if len(set(texts)) == 1:
        return first
    number, _, unit = first.partition(" ")
    return f"{number if unit and last.endswith(f' {unit}') else first}…{last}"


def _numbers(numbers: Sequence[int], show: Callable[[int], str]) -> str:
    return _range([show(number) for number in numbers]) if any(numbers) else NOTHING


def _volumes(shapes: Sequence[tuple[int, ...]]) -> str:
    if len({len(shape) for shape in shapes}) > 1 or len(shapes[0]) < 2:
        return _range([volume(shape) for shape in shapes])
    return "×".join(_range([str(side) for side in along]) for along in zip(*shapes, strict=True))


def _bar(bars: Mapping[str, str], row: Row) -> tuple[str, ...]:
    return (bars[row.name],) if bars else ()


def _bars(graph: Graph) -> dict[str, str]:
    most = max((row.macs for row in graph.rows), default=0) or 1
    bars = {}
    for row in graph.rows:
        whole, rest = divmod(round(row.macs / most * BAR_CELLS * 8), 8)
        bars[row.name] = ("█" * whole + EIGHTHS[rest]).rstrip()
    return bars


def _exact_and_short(number: int) -> str:
    return grouped(number) if number < 1e6 else f"{grouped(number)} ({short(number)})"


def _legend(lines: Sequence[Line]) -> tuple[str, ...]:
    """What the abbreviations mean that stand in the table."""
    legend = [f"{LEGEND}; field: size /stride of the receptive field [px]"]
    if any(line.role == "fold" for line in lines):
        legend.append(
            "×2: so many blocks alike; their heading adds them up, the lines below it are of each, "
            "a…b from the first to the last"
        )
    return tuple(legend)
