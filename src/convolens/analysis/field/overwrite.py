"""A tensor of which a part was written over, such as `x[:, :, 2:] = y`."""

from math import prod

import numpy as np

from convolens.analysis.field.arguments import Arguments, is_in_place
from convolens.analysis.field.reach import (
    MAX_ELEMENTS,
    NOTHING,
    Bounds,
    Reach,
    TooLargeError,
    checked,
    compacted,
    settled,
)
from convolens.analysis.field.step import Results, Step, UnknownError

# Along every axis of a tensor: the positions that a view has of it, or the one it was taken at.
Place = tuple[range | int, ...]


def overwritten(step: Step) -> Results:
    """The reach of the tensor, with the reach of every later write in its place."""
    trace = step.trace
    target, *writes = step.operation.inputs
    root, place = _place_of(target, step)
    shape = trace.values[target].shape
    reach = step.reaches.get(target)
    for write in writes:
        written_root, written = _place_of(write, step)
        if written_root != root:
            raise UnknownError
        meeting = _meeting(place, written)
        if meeting is not None:
            theirs = step.reaches.get(write)
            reach = _pasted(reach, theirs, shape, (place, written), meeting)
    return reach


def _place_of(value: int, step: Step) -> tuple[int, Place]:
    """The tensor that a value is a view of, by slices and selections, and where in it."""
    operation = step.makers.get(value)
    while operation is not None and operation.inputs and _is_same_place(operation.name):
        value = operation.inputs[0]
        operation = step.makers.get(value)
    name = operation.name if operation is not None else ""
    if operation is not None and name in ("aten.slice", "aten.select"):
        given = Arguments(operation, step.trace)
        root, place = _place_of(operation.inputs[0], step)
        kept = [axis for axis, positions in enumerate(place) if isinstance(positions, range)]
        axis = kept[given.axis(1)]
        positions = place[axis]
        if isinstance(positions, int):
            raise UnknownError
        part = positions[given.get(2)] if name == "aten.select" else positions[_as_slice(given)]
        return root, (*place[:axis], part, *place[axis + 1 :])
    return value, tuple(range(n) for n in step.trace.values[value].shape)


def _is_same_place(name: str) -> bool:
    """Whether the result of an operation is its first tensor, maybe with other values."""
    return is_in_place(name) or name in ("convolens.overwrite", "aten.alias", "aten.detach")


def _as_slice(given: Arguments) -> slice:
    cut = given.cut()
    return slice(cut.start, cut.stop, cut.step)


def _meeting(place: Place, written: Place) -> list[tuple[list[int], list[int]]] | None:
    """Along every axis of the root where both meet: positions within the one, and the other."""
    meeting = []
    for mine, theirs in zip(place, written, strict=True):
        own = mine if isinstance(mine, range) else range(mine, mine + 1)
        other = theirs if isinstance(theirs, range) else range(theirs, theirs + 1)
        both = [position for position in own if position in other]
        if not both:
            return None
        meeting.append(([own.index(p) for p in both], [other.index(p) for p in both]))
    return meeting


def _pasted(
    reach: Reach | None,
    written: Reach | None,
    shape: tuple[int, ...],
    places: tuple[Place, Place],
    meeting: list[tuple[list[int], list[int]]],
) -> Reach | None:
    """The reach with what was written at the places where both meet."""
    place, written_place = places
    known = reach if reach is not None else written
    if known is None:
        return None
    mine = [m for (m, _), p in zip(meeting, place, strict=True) if _kept(p)]
    nothing = np.full((2, *[1] * len(shape)), NOTHING, dtype=np.int32)
    arrays: list[Bounds] = []
    for number in range(len(known.axes)):
        old = nothing if reach is None else settled(reach).axes[number]
        block = nothing
        if written is not None:
            block = _block(settled(written).axes[number], meeting, place, written_place)
        # An axis that is written over in full needs its elements only where one array changes.
        dims = [
            1 if len(m) == n and p == q == 1 else n
            for m, n, p, q in zip(mine, shape, old.shape[1:], block.shape[1:], strict=True)
        ]
        if prod(dims) > MAX_ELEMENTS:
            raise TooLargeError
        result = np.array(np.broadcast_to(old, (2, *dims)))
        at = [m if n > 1 else [0] for m, n in zip(mine, dims, strict=True)]
        result[np.ix_([0, 1], *at)] = block
        arrays.append(result)
    return compacted(checked(arrays))


def _block(
    bounds: Bounds,
    meeting: list[tuple[list[int], list[int]]],
    place: Place,
    written_place: Place,
) -> Bounds:
    """What was written, at the places where both meet, with the axes of what it was written to."""
    dims, axis = [2], 0
    for (_, theirs), mine, other in zip(meeting, place, written_place, strict=True):
        length = 1
        if _kept(other):
            axis += 1
            bounds = bounds.take(theirs, axis) if bounds.shape[axis] > 1 else bounds
            length = bounds.shape[axis]
        if _kept(mine):
            dims.append(length)
    return bounds.reshape(dims)


def _kept(positions: range | int) -> bool:
    return isinstance(positions, range)
