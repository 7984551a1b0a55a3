"""The rows of a table of layers, out of a trace."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from convolens.analysis.counting import FREE, cost_of
from convolens.analysis.graph import Call, Operation, Trace

# A reshaping in a network's own forward is a step that a reader looks for.
SHOWN_VIEWS = frozenset({"aten.view", "aten._unsafe_view", "aten.cat", "aten.pixel_shuffle"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A layer: one call of a module that calls no other, or one operation outside of such.

    Args:
        name: path of the module, or path of the module around it and the operation; a further
            call of the same has "#2" and so on.
        kind: class of the module, or name of the operation.
        output: shape of the result without the batch; of the first tensor where there are more.
        params: elements of the parameters that are used here first.
        macs: multiply-accumulates for the whole batch.
        flops: floating-point operations for the whole batch.
        saved_bytes: storage first saved for backward here, for the whole batch.
        operations: its operations by index.
        value: the value of the result; -1 where there is none.
        call: the call of the module, or of the module around it.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    params: int
    macs: int
    flops: int
    saved_bytes: int
    operations: tuple[int, ...]
    value: int
    call: int


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Operations of a kind whose FLOPs are not known.

    Args:
        name: of the operation.
        times: how often it ran.
        place: the first module in which it ran.
    """

    name: str
    times: int
    place: str


def rows_of(trace: Trace) -> tuple[tuple[Row, ...], tuple[Uncounted, ...]]:
    """The rows in the order of execution, and what could not be counted."""
    uncounted: dict[str, Uncounted] = {}
    used: set[int] = set()
    times: dict[str, int] = {}
    rows = []
    for call, operations, is_leaf in _steps(trace, trace.calls[0]):
        params = macs = flops = 0
        for operation in operations:
            cost = cost_of(operation, trace)
            if cost is None:
                known = uncounted.get(operation.name)
                place = known.place if known else call.path
                count = known.times + 1 if known else 1
                uncounted[operation.name] = Uncounted(operation.name, count, place)
            else:
                macs += cost.macs
                flops += cost.flops
            for value in operation.inputs:
                if trace.values[value].kind == "parameter" and value not in used:
                    used.add(value)
                    params += prod(trace.values[value].shape)
        if not is_leaf and not params and not _is_shown(operations[0]):
            continue
        saved = (
            sum(call.saved_bytes.values())
            if is_leaf
            else call.saved_bytes.get(operations[0].index, 0)
        )
        outputs = call.outputs if is_leaf else operations[0].outputs
        kind = call.kind if is_leaf else operations[0].name.partition(".")[2].strip("_")
        name = call.path if is_leaf else f"{call.path}.{kind}".lstrip(".")
        times[name] = times.get(name, 0) + 1
        rows.append(
            Row(
                name=name if times[name] == 1 else f"{name}#{times[name]}",
                kind=kind,
                output=trace.values[outputs[0]].shape[1:] if outputs else (),
                params=params,
                macs=macs,
                flops=flops,
                saved_bytes=saved,
                operations=tuple(operation.index for operation in operations),
                value=outputs[0] if outputs else -1,
                call=call.index,
            )
        )
    return tuple(rows), tuple(uncounted.values())


def with_saved_bytes(rows: tuple[Row, ...], saved: Mapping[str, int]) -> tuple[Row, ...]:
    """The rows with the bytes that each saves, by its name."""
    return tuple(replace(row, saved_bytes=saved.get(row.name, 0)) for row in rows)


def _steps(trace: Trace, call: Call) -> Iterator[tuple[Call, list[Operation], bool]]:
    """Every leaf call with its operations, and every operation that is in none, in order."""
    if not call.children:
        yield call, [trace.operations[index] for index in call.operations], True
        return
    children = [trace.calls[index] for index in call.children]
    position = 0
    for child in children:
        while position < len(call.operations) and call.operations[position] < child.begins:
            yield call, [trace.operations[call.operations[position]]], False
            position += 1
        yield from _steps(trace, child)
    for index in call.operations[position:]:
        yield call, [trace.operations[index]], False


def _is_shown(operation: Operation) -> bool:
    name = operation.name.partition(".")[2].strip("_")
    return name not in FREE or operation.name in SHOWN_VIEWS
