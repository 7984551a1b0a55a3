"""The rows of a Graph as the tree of its modules, with repeated blocks laid on one another."""

from collections.abc import Sequence
from dataclasses import dataclass

from convolens.analysis.graph import Trace
from convolens.analysis.rows import Row
from convolens.analysis.summarize import Graph

# A fold costs a line of its own, and is worth it where it saves as many.
FEWEST_SAVED = 2
LONGEST_PATTERN = 8


@dataclass(frozen=True, slots=True)
class Leaf:
    """A row of the table, or the same row of several blocks, in order.

    Args:
        rows: the row of each block.
        window: kernel, stride and the like of its convolution or pooling, without the channels.
    """

    rows: tuple[Row, ...]
    window: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A call of a module that calls others; of several modules, laid on one another, where `paths`
    has several.

    Args:
        paths: dotted names of the modules, in order; empty for the network itself.
        kind: the modules' class.
        children: what runs in them, in order.
    """

    paths: tuple[str, ...]
    kind: str
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Neighbours that are alike, shown once.

    Args:
        times: how many there are.
        nodes: one of them, with the rows of all laid on one another.
    """

    times: int
    nodes: tuple["Node", ...]


Node = Leaf | Block | Repeat


def tree_of(graph: Graph) -> Block:
    """The rows below the modules that they ran in, in the order of execution."""
    calls = graph.trace.calls
    stack: list[tuple[int, list[Node]]] = [(0, [])]

    def close() -> None:
        index, children = stack.pop()
        stack[-1][1].append(Block((calls[index].path,), calls[index].kind, tuple(children)))

    for row in graph.rows:
        # A row of an operation belongs to the call around it, a row of a call to its parent.
        is_call = not calls[row.call].children
        path = [calls[row.call].parent if is_call and row.call else row.call]
        while path[-1] > 0:
            path.append(calls[path[-1]].parent)
        wanted = path[::-1]
        while [index for index, _ in stack] != wanted[: len(stack)]:
            close()
        stack += [(index, []) for index in wanted[len(stack) :]]
        stack[-1][1].append(Leaf((row,), _window(row, graph.trace)))
    while len(stack) > 1:
        close()
    return Block((calls[0].path,), calls[0].kind, tuple(stack[0][1]))


def folded(node: Block) -> Block:
    """The tree with neighbours that are alike shown once.

    Modules are alike where they run the same kinds of rows in the same order, with the same
    windows, and their convolutions and matrix products give the same volumes; what else differs,
    such as the channels that a dense layer reads, becomes a range. Runs of rows are alike where
    all numbers but the saved bytes are the same; a run begins with a convolution or a matrix
    product where it has one.
    """
    return Block(node.paths, node.kind, tuple(_folded(node.children)))


def rows_below(nodes: Sequence[Node], layer: int = 0, layers: int = 1) -> list[Row]:
    """All rows in these nodes; of one of the `layers` blocks that were laid on one another."""
    rows: list[Row] = []
    for node in nodes:
        if isinstance(node, Leaf):
            rows.extend(node.rows[layer::layers])
        else:
            rows.extend(rows_below(_below(node), layer, layers))
    return rows


def num_lines(nodes: Sequence[Node]) -> int:
    """Lines of a table that shows these nodes: a row each, and one for each fold."""
    return sum(
        1 if isinstance(n, Leaf) else num_lines(_below(n)) + isinstance(n, Repeat) for n in nodes
    )


def _below(node: Block | Repeat) -> tuple[Node, ...]:
    return node.children if isinstance(node, Block) else node.nodes


def _folded(nodes: Sequence[Node]) -> list[Node]:
    result: list[Node] = []
    row = _Row(nodes)
    position = 0
    while position < len(nodes):
        pattern, times = _best_pattern(row, position)
        if times == 1:
            node = nodes[position]
            result.append(folded(node) if isinstance(node, Block) else node)
            position += 1
            continue
        end = position + pattern * times
        stacked = [_stack(nodes[position + i : end : pattern]) for i in range(pattern)]
        result.append(Repeat(times, tuple(_inner(stacked))))
        position = end
    return result


class _Row:
    """Neighbouring nodes, and what decides whether they repeat."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.is_leaf = [isinstance(node, Leaf) for node in nodes]
        self.alike = [_alike(node) for node in nodes]
        self.exact = [_exact(node) if isinstance(node, Leaf) else None for node in nodes]
        self.num_lines = [num_lines([node]) for node in nodes]
        self.computes = [any(row.macs for row in rows_below([node])) for node in nodes]


def _inner(nodes: Sequence[Node]) -> list[Node]:
    return [folded(node) if isinstance(node, Block) else node for node in nodes]


def _best_pattern(row: _Row, position: int) -> tuple[int, int]:
    """The number of nodes and of repetitions that save the most lines from here on."""
    best, most = (1, 1), FEWEST_SAVED - 1
    longest = min(LONGEST_PATTERN, (len(row.alike) - position) // 2)
    for pattern in range(1, longest + 1):
        end = position + pattern
        only_rows = all(row.is_leaf[position:end])
        if only_rows and any(row.computes[position:end]) and not row.computes[position]:
            continue
        keys: Sequence[object] = row.exact if only_rows else row.alike
        times = 1
        while keys[end : end + pattern] == keys[position : position + pattern]:
            times += 1
            end += pattern
        saved = (times - 1) * sum(row.num_lines[position : position + pattern]) - 1
        if times > 1 and saved > most:
            best, most = (pattern, times), saved
    return best


def _window(row: Row, trace: Trace) -> tuple[object, ...]:
    found: list[object] = []
    for operation in (trace.operations[index] for index in row.operations):
        if operation.name == "aten.convolution":
            weight = trace.shape(operation.inputs[1])
            found += [weight[2:], operation.args[3:8], operation.args[8] == 1]
        elif "pool" in operation.name:
            found.append(operation.args[1:])
    return tuple(found)


def _exact(node: Leaf) -> object:
    numbers = [(row.kind, row.output, row.params, row.macs, row.flops) for row in node.rows]
    return (node.window, *numbers)


def _alike(node: Node) -> object:
    """Equal for blocks that may be laid on one another."""
    if isinstance(node, Leaf):
        computes = any(row.macs for row in node.rows)
        outputs = tuple(row.output for row in node.rows)
        volumes = outputs if computes else len(outputs[0])
        return (node.rows[0].kind, computes, node.window, volumes)
    kind = node.kind if isinstance(node, Block) else ""
    return (kind, _last_output(node), tuple(_alike(child) for child in _below(node)))


def _last_output(node: Block | Repeat) -> tuple[int, ...]:
    rows = rows_below([node])
    return rows[-1].output[1:] if rows else ()


def _stack(nodes: Sequence[Node]) -> Node:
    """Nodes that are alike as one."""
    first = nodes[0]
    if isinstance(first, Leaf):
        return Leaf(tuple(row for node in nodes for row in rows_below([node])), first.window)
    children = [_below(node) for node in nodes if not isinstance(node, Leaf)]
    stacked = tuple(_stack(same) for same in zip(*children, strict=True))
    if isinstance(first, Repeat):
        return Repeat(first.times, stacked)
    paths = tuple(path for node in nodes if isinstance(node, Block) for path in node.paths)
    return Block(paths, first.kind, stacked)
