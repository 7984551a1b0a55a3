"""The rows of a table of layers, out of a trace."""

from collections.abc import Iterator
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
    rows = []
    for step in _steps(trace):
        params = macs = flops = 0
        for operation in step.operations:
            cost = cost_of(operation, trace)
            if cost is None:
                known = uncounted.get(operation.name)
                place, times = (known.place, known.times) if known else (step.call.path, 0)
                uncounted[operation.name] = Uncounted(operation.name, times + 1, place)
            else:
                macs += cost.macs
                flops += cost.flops
            for value in operation.inputs:
                if trace.values[value].kind == "parameter" and value not in used:
                    used.add(value)
                    params += prod(trace.values[value].shape)
        rows.append(
            Row(
                name=step.name,
                kind=step.kind,
                output=trace.values[step.outputs[0]].shape[1:] if step.outputs else (),
                params=params,
                macs=macs,
                flops=flops,
                saved_bytes=step.saved_bytes,
                operations=tuple([operation.index for operation in step.operations]),
                value=step.outputs[0] if step.outputs else -1,
                call=step.call.index,
            )
        )
    return tuple(rows), tuple(uncounted.values())


def with_saved_bytes(rows: tuple[Row, ...], training: Trace) -> tuple[Row, ...]:
    """The rows with what each saves in a pass for training, where the names are the same."""
    saved = {step.name: step.saved_bytes for step in _steps(training)}
    return tuple([replace(row, saved_bytes=saved.get(row.name, 0)) for row in rows])


@dataclass(slots=True)
class _Step:
    """A leaf call with all that ran in it, or an operation outside of such."""

    name: str
    kind: str
    call: Call
    operations: list[Operation]
    outputs: tuple[int, ...]
    saved_bytes: int


def _steps(trace: Trace) -> Iterator[_Step]:
    """The steps in order, each with a name of its own."""
    times: dict[str, int] = {}
    for step in _unnamed_steps(trace, trace.calls[0]):
        number = times[step.name] = times.get(step.name, 0) + 1
        if number > 1:
            step.name = f"{step.name}#{number}"
        yield step


def _unnamed_steps(trace: Trace, call: Call) -> Iterator[_Step]:
    if not call.children:
        operations = [trace.operations[index] for index in call.operations]
        saved_bytes = sum(call.saved_bytes.values())
        yield _Step(call.path, call.kind, call, operations, call.outputs, saved_bytes)
        return
    position = 0
    for index in (*call.children, -1):
        end = trace.calls[index].begins if index >= 0 else len(trace.operations)
        first = position
        while position < len(call.operations) and call.operations[position] < end:
            position += 1
        yield from _own_steps(trace, call, call.operations[first:position])
        if index >= 0:
            yield from _unnamed_steps(trace, trace.calls[index])


def _own_steps(trace: Trace, call: Call, indices: list[int]) -> Iterator[_Step]:
    """Operations of a call that has others in it; views go with the operation that they are for."""
    views: list[Operation] = []
    for index in indices:
        operation = trace.operations[index]
        kind = operation.name.partition(".")[2].strip("_")
        views.append(operation)
        if kind in FREE and operation.name not in SHOWN_VIEWS:
            continue
        if not operation.inputs and not operation.outputs:
            continue  # a question to PyTorch or torchvision, such as the version of CUDA
        saved_bytes = sum(call.saved_bytes.get(o.index, 0) for o in views)
        name = f"{call.path}.{kind}".lstrip(".")
        yield _Step(name, kind, call, views, operation.outputs, saved_bytes)
        views = []
    if any(trace.values[v].kind == "parameter" for o in views for v in o.inputs):
        last = views[-1]
        kind = last.name.partition(".")[2].strip("_")
        yield _Step(f"{call.path}.{kind}".lstrip("."), kind, call, views, last.outputs, 0)
