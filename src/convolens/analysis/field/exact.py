"""The exact receptive field of every unit of a network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from convolens.analysis.field.arguments import MISFITS, is_in_place, plain_name, space_of
from convolens.analysis.field.reach import (
    NOTHING,
    Reach,
    TooLargeError,
    of_input,
    reshaped,
    settled,
    whole,
)
from convolens.analysis.field.rules import rule_of
from convolens.analysis.field.step import Step, UnknownError
from convolens.analysis.field.textbook import Textbook, textbook_of
from convolens.analysis.graph import Operation, Trace
from convolens.errors import ShapeError

# Views that may be of all of a tensor, and those of them in which the order is another.
TURNING_VIEWS = frozenset({"permute", "transpose", "t"})
VIEWS = TURNING_VIEWS | {"alias", "detach", "select", "slice", "squeeze", "unsqueeze", "view"}


@dataclass(frozen=True, slots=True)
class Field:
    """The smallest rectangle of input pixels outside of which no pixel can change a unit.

    Args:
        intervals: first and last position along each axis of the input, both included.
    """

    intervals: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> tuple[int, int]:
        """First and last row; (0, 0) for an input with one axis."""
        return self.intervals[-2] if len(self.intervals) > 1 else (0, 0)

    @property
    def cols(self) -> tuple[int, int]:
        """First and last column."""
        return self.intervals[-1]

    @property
    def size(self) -> tuple[int, ...]:
        """The number of positions along each axis."""
        return tuple([last - first + 1 for first, last in self.intervals])


@dataclass(frozen=True, slots=True)
class Unknown:
    """An operation whose result is taken to read the whole picture.

    Args:
        name: of the operation.
        place: path of the module in which it ran; empty for the network itself.
        operation: its index in the trace.
    """

    name: str
    place: str
    operation: int


@dataclass(kw_only=True)
class Fields:
    """The receptive fields of all units, worked out when the first is asked for.

    Args:
        trace: the pass.
        source: value of the input that is looked at.
        axes: the axes of the input that are its space.
    """

    trace: Trace
    source: int
    axes: tuple[int, ...]
    _reaches: dict[int, Reach] = field(default_factory=dict)
    _unknown: list[Unknown] = field(default_factory=list)

    def unit(self, value: int, *position: int, channel: int | None = None) -> Field | None:
        """The receptive field of a unit of a feature map (N, C, H, W), or (N, C, …) of other axes.

        Args:
            value: index of the value in the trace.
            position: y and x of the unit; one number for each axis after the channels.
            channel: the unit's channel; by default what the units of all channels see together.
        Returns: the field, clipped at the border; None where the unit reads nothing of the input.
        Raises:
            ShapeError: when the value has no such unit.
        """
        shape = self.trace.values[value].shape
        space = shape[2:]
        if not space and not any(position):
            position = ()
        if len(position) != len(space):
            raise ShapeError(
                f"a unit of {_text(shape[1:])} has {len(space)} positions after its channel, "
                f"received {len(position)}"
            )
        return self.at(value, (None, channel, *position)[: len(shape)])

    def at(self, value: int, index: Sequence[int | None]) -> Field | None:
        """The field of an element of a tensor of any form; None along an axis takes all of it.

        Raises:
            ShapeError: when the tensor has no such element.
        """
        shape = self.trace.values[value].shape
        inside = all(i is None or 0 <= i < n for i, n in zip(index, shape, strict=False))
        if len(index) != len(shape) or not inside:
            asked = ", ".join("all" if i is None else str(i) for i in index)
            raise ShapeError(f"there is no unit ({asked}) in a tensor of shape {shape}")
        reach = self._reach(value)
        if reach is None:
            return None
        parts = [
            bounds[
                (
                    slice(None),
                    *[
                        slice(None) if i is None else slice(i, i + 1) if n > 1 else slice(None)
                        for i, n in zip(index, bounds.shape[1:], strict=True)
                    ],
                )
            ]
            for bounds in reach.axes
        ]
        together = np.stack(np.broadcast_arrays(*parts)).reshape(len(parts), 2, -1)
        read = (together[:, 0] < NOTHING).all(0)
        if not read.any():
            return None
        ends = together[:, :, read].min(2)
        return Field(tuple([(int(first), -int(last)) for first, last in ends]))

    def boxes(self, value: int) -> NDArray[np.int32]:
        """First and last of all units at once, (axes, 2, *shape); (0, −1) where nothing is read."""
        shape = self.trace.values[value].shape
        reach = self._reach(value)
        result = np.zeros((len(self.axes), 2, *shape), dtype=np.int32)
        result[:, 1] = -1
        if reach is not None:
            for number, bounds in enumerate(settled(reach).axes):
                read = bounds[0] < NOTHING
                result[number, 0] = np.where(read, bounds[0], 0)
                result[number, 1] = np.where(read, -bounds[1], -1)
        return result

    def textbook(self, value: int) -> Textbook | None:
        """Size, stride and start of a value's fields; None where it is not regular."""
        return self._textbooks.get(value)

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """The operations without an exact rule, whose results are taken to read everything."""
        self._reach(self.source)
        return tuple(self._unknown)

    @cached_property
    def _textbooks(self) -> dict[int, Textbook]:
        source = self.trace.inputs.index(self.source)
        return dict(textbook_of(self.trace, source, axes=self.axes))

    @cached_property
    def _makers(self) -> dict[int, Operation]:
        """The operation of every value that is a result."""
        return {v: o for o in self.trace.operations for v in o.outputs}

    @cached_property
    def _read(self) -> set[int]:
        used = {v for operation in self.trace.operations for v in operation.inputs}
        return used | {*self.trace.outputs}

    def _reach(self, value: int) -> Reach | None:
        if not self._reaches:
            self._reaches[self.source] = of_input(self.trace.values[self.source].shape, self.axes)
            for operation in self.trace.operations:
                if not self._reaches.keys().isdisjoint(operation.inputs):
                    self._follow(operation)
        return self._reaches.get(value)

    def _follow(self, operation: Operation) -> None:
        """Adds what the results of an operation read."""
        step = Step(operation, self.trace, self._reaches, self._makers)
        rule = rule_of(step.name)
        try:
            results = rule(step) if rule is not None else NotImplemented
        except (UnknownError, TooLargeError, *MISFITS):
            results = NotImplemented
        for number, value in enumerate(operation.outputs):
            reach = results if results is None or isinstance(results, Reach) else None
            if isinstance(results, list):
                reach = results[number]
            if results is NotImplemented or (reach is not None and not self._fits(reach, value)):
                reach = self._everything(operation, value)
            self._keep(value, reach)
        if is_in_place(operation.name):
            self._write_through(operation)

    def _fits(self, reach: Reach, value: int) -> bool:
        """Whether a rule's result has the value's form; statistics beside it have another."""
        shape = self.trace.values[value].shape
        return reach.rank == len(shape) and all(
            size in (1, length)
            for bounds in reach.axes
            for size, length in zip(bounds.shape[1:], shape, strict=True)
        )

    def _keep(self, value: int, reach: Reach | None) -> None:
        if reach is None:
            self._reaches.pop(value, None)
        else:
            self._reaches[value] = reach

    def _write_through(self, operation: Operation) -> None:
        """What is written into a view of all of a tensor is in the tensor too, from here on."""
        view, values = operation.inputs[0], self.trace.values
        reach = self._reaches.get(operation.outputs[0])
        while view in self._makers:
            made = self._makers[view]
            name = plain_name(made.name)
            if name not in VIEWS or not made.inputs:
                return
            base = made.inputs[0]
            old, new = values[view].shape, values[base].shape
            if prod(old) != prod(new) or not prod(old):
                return
            if reach is not None:
                straight = name not in TURNING_VIEWS
                reach = reshaped(reach, old, new) if straight else self._everything(made, base)
            self._keep(base, reach)
            view = base

    def _everything(self, operation: Operation, value: int) -> Reach:
        """The whole picture for a result without a rule, which is noted if anyone reads it."""
        place = self.trace.calls[operation.call].path
        note = Unknown(operation.name, place, operation.index)
        if value in self._read and note not in self._unknown:
            self._unknown.append(note)
        sizes = [self.trace.values[self.source].shape[axis] for axis in self.axes]
        return whole(sizes, len(self.trace.values[value].shape))


def fields_of(trace: Trace, source: int = 0, *, axes: Sequence[int] | None = None) -> Fields:
    """The exact receptive field of every unit of every value.

    Args:
        trace: one forward pass.
        source: which of the network's inputs is looked at.
        axes: the axes of the input that are its space; by default all but batch and channels.
    Returns: the fields, which are worked out when the first is asked for.
    Raises:
        ShapeError: when the input has no such axis.
    Example:
        >>> from torch import nn
        >>> from convolens.analysis.summarize import summarize
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2))
        >>> graph = summarize(net, (3, 32, 32))
        >>> fields_of(graph.trace).unit(graph.rows[1].value, 0, 5)
        Field(intervals=((0, 2), (9, 12)))
    """
    value = trace.inputs[source]
    shape = trace.values[value].shape
    space = space_of(shape) if axes is None else tuple(axes)
    if not space or not all(0 <= axis < len(shape) for axis in space):
        raise ShapeError(
            f"axes of an input of shape {shape} are 0 to {len(shape) - 1}, received {space}"
        )
    return Fields(trace=trace, source=value, axes=space)


def _text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
