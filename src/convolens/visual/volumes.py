"""A Graph as the volumes that a drawing of the network shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod

from convolens.analysis.rows import Row
from convolens.analysis.summarize import Graph
from convolens.analysis.table.tree import Block, Leaf, Node, rows_below, tree_of
from convolens.analysis.table.window import Window, windows_of
from convolens.visual.layout import Lane, Role, Volume

JOINS = frozenset({"add", "cat", "sub", "mul", "stack"})
MOST_STEPS, MOST_LANES = 6, 6
POOLS = ("MaxPool", "AvgPool", "max_pool", "avg_pool")


def volumes_of(graph: Graph) -> tuple[Volume, ...]:
    """The volumes of a network, from its inputs on; layers that keep a volume's shape are in it.

    A module whose branches end in a sum or a concatenation is one volume with a lane for each
    branch. Neighbours that are alike are one volume with "×3".

    Args:
        graph: what `summarize` gave.
    Returns: what `draw_network` draws.
    """
    flow = _Flow(graph)
    return tuple(_folded(_joined(list(_walked(tree_of(graph), flow)), flow)))


class _Flow:
    """Which rows each row reads; an input of the network counts as a row of its own below 0."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rows = graph.rows
        self.index = {row.name: index for index, row in enumerate(graph.rows)}
        self.reads: list[tuple[int, ...]] = [() for _ in graph.rows]
        trace = graph.trace
        row_of = {o: index for index, row in enumerate(graph.rows) for o in row.operations}
        made: dict[int, tuple[int, ...]] = {
            value: (-1 - number,) for number, value in enumerate(trace.inputs)
        }
        for operation in trace.operations:
            sources = dict.fromkeys(s for v in operation.inputs for s in made.get(v, ()))
            index = row_of.get(operation.index)
            if index is not None:
                others = [source for source in sources if source != index]
                self.reads[index] = tuple(dict.fromkeys((*self.reads[index], *others)))
                sources = dict.fromkeys((index,))
            made.update(dict.fromkeys(operation.outputs, tuple(sources)))

    def shape(self, index: int) -> tuple[int, ...]:
        return self.graph.inputs[-1 - index][1:] if index < 0 else self.rows[index].output

    def is_passive(self, index: int) -> bool:
        """Whether the row changes numbers, but not the volume that they stand in."""
        row, reads = self.rows[index], self.reads[index]
        if not row.operations:
            return True
        if len(reads) != 1 or row.macs or _is_pool(row):
            return False
        before, after = self.shape(reads[0]), row.output
        flattens = len(after) == 1 and prod(before[1:]) > 1
        return prod(before) == prod(after) and not flattens


@dataclass(slots=True)
class _Draft:
    """A volume in the making: the rows in it, and how it is labelled."""

    rows: list[int]
    label: str
    role: Role
    lanes: tuple[Lane, ...] = ()
    reads: set[int] = field(default_factory=set)
    is_dense: bool = False


def _walked(node: Node, flow: _Flow) -> Iterator[_Draft]:
    """The drafts below a node, in order; passive rows are drafts of their own yet."""
    if isinstance(node, Leaf):
        index = flow.index[node.rows[0].name]
        yield _Draft([index], layer_label(flow.rows[index], flow.graph), _role(flow.rows[index]))
    elif isinstance(node, Block):
        join = _join(node, flow) if node.paths[0] else None
        if join is None:
            for child in node.children:
                yield from _walked(child, flow)
        else:
            inside = [flow.index[row.name] for row in rows_below([node])]
            lanes, is_dense = _lanes(join, set(inside), flow)
            label = node.kind.strip("_")
            yield _Draft(inside, label, "block", lanes, is_dense=is_dense)


def _join(block: Block, flow: _Flow) -> int | None:
    """The sum or concatenation that a module's own branches end in."""
    outside = set()
    inside = {flow.index[row.name] for row in rows_below([block])}
    for index in inside:
        outside |= set(flow.reads[index]) - inside
    for child in reversed(block.children):
        if not isinstance(child, Leaf):
            return None
        index = flow.index[child.rows[0].name]
        if not flow.is_passive(index):
            is_join = len(flow.reads[index]) > 1 and len(outside) == 1
            return index if is_join and not flow.rows[index].macs else None
    return None


def _lanes(join: int, inside: set[int], flow: _Flow) -> tuple[tuple[Lane, ...], bool]:
    """The branches that a join brings together, each from the module's input on."""
    ends = flow.reads[join]
    is_cat = flow.rows[join].kind == "cat"
    is_dense = False
    paths: dict[int, tuple[str, ...]] = {}
    passed: set[int] = set()
    for end in ends:
        steps: list[str] = []
        at = end
        while at in inside:
            if not flow.is_passive(at) and flow.rows[at].kind not in JOINS:
                steps.append(step_label(flow.rows[at], flow.graph))
            if not flow.reads[at]:
                break
            same = [r for r in flow.reads[at] if flow.shape(r)[1:] == flow.shape(at)[1:]]
            at = max(same or flow.reads[at])
            if at in ends and at in inside:
                if is_cat:
                    is_dense = True
                    break
                passed.add(at)
        paths[end] = _shortened(tuple(reversed(steps)))
    # A sum that another branch goes on from is that branch's own shortcut.
    lanes = [Lane(steps=() if end in passed else path) for end, path in paths.items()]
    folded = [replace(lane, times=len(list(same))) for lane, same in groupby(lanes)]
    if len(folded) > MOST_LANES:
        folded = [Lane(steps=(f"{len(lanes)} branches",))]
    # What passes unchanged stands on top, where it is drawn as an arc.
    return tuple(sorted(folded, key=lambda lane: bool(lane.steps))), is_dense


def _shortened(steps: tuple[str, ...]) -> tuple[str, ...]:
    """A lane that still fits into a row."""
    if len(steps) <= MOST_STEPS:
        return steps
    return (*steps[:3], f"… {len(steps) - 5} more", *steps[-2:])


def _joined(drafts: Sequence[_Draft], flow: _Flow) -> list[tuple[Volume, set[int]]]:
    """Volumes with the places of those that they read; passive rows go into what they read."""
    owner: dict[int, int] = {}
    volumes: list[tuple[Volume, set[int]]] = []
    for number, shape in enumerate(flow.graph.inputs):
        owner[-1 - number] = len(volumes)
        volumes.append((Volume(shape=shape[1:], label="input", role="input"), set()))
    for draft in drafts:
        first = draft.rows[0]
        if not draft.lanes and flow.is_passive(first):
            if flow.reads[first] and flow.reads[first][0] in owner:
                place = owner[first] = owner[flow.reads[first][0]]
                volume, reads = volumes[place]
                row = flow.rows[first]
                if row.operations and row.output == volume.shape:
                    volumes[place] = (replace(volume, layer=row.name), reads)
            continue
        reads = {owner[r] for index in draft.rows for r in flow.reads[index] if r in owner}
        place = len(volumes)
        last = [flow.rows[index] for index in draft.rows if flow.rows[index].operations][-1:]
        owner.update(dict.fromkeys(draft.rows, place))
        volume = Volume(
            shape=flow.rows[draft.rows[-1]].output,
            label=draft.label,
            role=draft.role,
            lanes=draft.lanes,
            is_dense=draft.is_dense,
            layer=last[0].name if last else "",
        )
        volumes.append((volume, reads - {place}))
    return volumes


def _folded(volumes: Sequence[tuple[Volume, set[int]]]) -> Iterator[Volume]:
    """Neighbours that are alike as one, and `reads` by the places that are left."""
    read_by_others = {
        source
        for place, (_, reads) in enumerate(volumes)
        for source in reads
        if source != place - 1
    }
    place_of: dict[int, int] = {}
    result: list[Volume] = []
    for place, (volume, reads) in enumerate(volumes):
        is_next = reads == {place - 1} and place - 1 not in read_by_others
        before = result[-1] if result else None
        if is_next and before is not None and replace(before, times=1, reads=None) == volume:
            result[-1] = replace(before, times=before.times + 1, layer=volume.layer)
        else:
            sources = tuple(sorted({place_of[source] for source in reads}))
            result.append(replace(volume, reads=sources))
        place_of[place] = len(result) - 1
    yield from result


def layer_label(row: Row, graph: Graph) -> str:
    """What a layer is called above its volume: conv 3×3 /2."""
    windows, operation = _window(row, graph)
    if operation == "convolution":
        word = "up-conv" if windows[0].transposed else "conv"
        return f"{word} {_kernel(windows)}{_grouping(row, graph)}"
    if windows:
        return f"{'max' if 'max' in operation else 'avg'} {_kernel(windows)}"
    if row.kind == "Linear" or (row.macs and operation in ("addmm", "mm", "linear")):
        return "fc"
    if row.kind.startswith("Adaptive") or row.kind == "mean":
        return "global pool" if prod(row.output[1:]) == 1 else "adaptive pool"
    if row.kind in ("view", "Flatten", "flatten"):
        return "flatten" if len(row.output) == 1 else "reshape"
    return row.kind.strip("_").lower() if row.kind.islower() else row.kind.strip("_")


def step_label(row: Row, graph: Graph) -> str:
    """What a layer is called in a lane: 3×3 64, or pool 3×3."""
    operation = _window(row, graph)[1]
    label = layer_label(row, graph)
    if operation == "convolution":
        return f"{label.removeprefix('conv ')}, {row.output[0]}"
    return f"fc {row.output[-1]}" if label == "fc" else label


def _window(row: Row, graph: Graph) -> tuple[list[Window], str]:
    """The windows of a row's only convolution or pooling, and the name of its main operation."""
    name = ""
    for operation in (graph.trace.operations[index] for index in row.operations):
        windows = windows_of(operation, graph.trace)
        name = operation.name.partition(".")[2]
        if windows:
            return windows, name
    return [], name


def _kernel(windows: Sequence[Window]) -> str:
    sides = "×".join(str(w.kernel) for w in windows)
    strides = dict.fromkeys(w.stride for w in windows)
    step = "×".join(map(str, strides if len(strides) == 1 else [w.stride for w in windows]))
    return f"{sides} /{step}" if step != "1" else sides


def _grouping(row: Row, graph: Graph) -> str:
    for operation in (graph.trace.operations[index] for index in row.operations):
        if operation.name == "aten.convolution" and operation.args[8] > 1:
            is_depthwise = operation.args[8] == graph.trace.shape(operation.args[0])[1]
            return " dw" if is_depthwise else f" g{operation.args[8]}"
    return ""


def _is_pool(row: Row) -> bool:
    return any(word in row.kind for word in POOLS) or row.kind in ("mean", "amax")


def _role(row: Row) -> Role:
    if _is_pool(row):
        return "pool"
    if row.macs:
        return "linear" if len(row.output) == 1 else "conv"
    return "join" if row.kind in JOINS else "other"
