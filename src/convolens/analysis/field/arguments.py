"""What a rule gets to see of an operation: its arguments by position, and their shapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch

from convolens.analysis.graph import Operation, Ref, Trace
from convolens.errors import ShapeError

# Of one element for one element, but without PyTorch's tag for it.
UNTAGGED = frozenset(
    {"hardswish", "_prelu_kernel", "prelu", "native_dropout", "log_sigmoid_forward", "rsub"}
)


# What a rule raises on arguments that its author did not foresee: then nothing is known.
MISFITS = (IndexError, KeyError, RuntimeError, ShapeError, TypeError, ValueError)


@dataclass(frozen=True)
class Arguments:
    """An operation with the shapes around it."""

    operation: Operation
    trace: Trace

    @cached_property
    def name(self) -> str:
        """The operation without its namespace, and without the mark of writing in place."""
        return plain_name(self.operation.name)

    def get(self, position: int, default: Any = None) -> Any:
        """A positional argument, or the default where PyTorch left it out."""
        args = self.operation.args
        return args[position] if position < len(args) else default

    def value(self, position: int) -> int:
        """The value of a tensor argument; -1 where there is none."""
        argument = self.get(position)
        return argument.value if isinstance(argument, Ref) else -1

    def shape(self, position: int) -> tuple[int, ...]:
        """The shape of a tensor argument."""
        return self.trace.values[self.value(position)].shape

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return self.trace.values[self.operation.outputs[0]].shape

    def axis(self, position: int, default: int = 0) -> int:
        """An argument that names an axis of the first tensor, counted from the front."""
        axis: int = self.get(position, default)
        return axis % max(len(self.shape(0)), 1)

    def axes(self, position: int) -> tuple[int, ...]:
        """An argument that names axes; all axes where it names none."""
        rank, given = len(self.shape(0)), self.get(position)
        if given is None or (isinstance(given, Sequence) and not given):
            return tuple(range(rank))
        return tuple(axis % rank for axis in ([given] if isinstance(given, int) else given))

    def pieces(self) -> list[tuple[int, int]]:
        """First and end of every piece that a split makes along its axis."""
        sizes = self.get(1)
        length = self.shape(0)[self.axis(2)]
        if isinstance(sizes, int):
            sizes = [min(sizes, length - first) for first in range(0, length, sizes)] or [0]
        ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
        return [(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def cut(self) -> range:
        """The positions that a slice keeps along its axis."""
        positions = range(self.shape(0)[self.axis(1)])
        return positions[self.get(2) : self.get(3) : self.get(4, 1)]


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window along one axis, as in `convolens.geometry.output_size`."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def is_single(self) -> bool:
        """Whether every position reads its own position only."""
        return (self.kernel, self.stride, self.padding) == (1, 1, 0)


WINDOWED = frozenset(
    {
        *("convolution", "max_pool1d", "max_pool2d", "max_pool2d_with_indices"),
        *("max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    }
)


def windows_of(given: Arguments) -> tuple[Window, ...] | None:
    """The windows of a convolution or pooling along the last axes; None for other operations."""
    name = given.name
    if name not in WINDOWED:
        return None
    if name == "convolution":
        kernel = given.shape(1)[2:]
        options = (kernel, given.get(3), given.get(4), given.get(5))
    else:
        kernel = _several(given.get(1), int(name[8]))
        dilation = given.get(4, 1) if name.startswith("max") else 1
        options = (kernel, given.get(2) or kernel, given.get(3, 0), dilation)
    columns = [_several(option, len(kernel)) for option in options]
    return tuple([Window(*row) for row in zip(*columns, strict=True)])


def paddings_of(given: Arguments) -> list[tuple[int, int, int]]:
    """(axis, elements before, elements after) of a padding operation."""
    pads, rank = given.get(1), len(given.shape(0))
    return [
        (rank - 1 - number, pads[2 * number], pads[2 * number + 1])
        for number in range(len(pads) // 2)
    ]


def _several(option: Any, count: int) -> tuple[int, ...]:
    items = (option,) if isinstance(option, int) else tuple(option)
    return items * count if len(items) == 1 else items


@cache
def plain_name(name: str) -> str:
    """The name of an operation without "aten." and without a trailing "_"."""
    namespace, _, plain = name.partition(".")
    if namespace != "aten":
        return name
    return plain.rstrip("_") if is_in_place(name) else plain


@cache
def is_in_place(name: str) -> bool:
    """Whether an operation writes its result over its first tensor."""
    return name.endswith("_") and not name.endswith("__")


@cache
def is_pointwise(name: str) -> bool:
    """Whether every element of the result is of the elements at its own place."""
    if name in UNTAGGED:
        return True
    packet = getattr(torch.ops.aten, name, None)
    if packet is None:
        return False
    return any(torch.Tag.pointwise in getattr(packet, o).tags for o in packet.overloads())


def space_of(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of an input that are its space: all but batch and channels."""
    return tuple(range(min(2, len(shape) - 1), len(shape)))


def factors_of(old: Sequence[int], new: Sequence[int]) -> list[tuple[range, range]]:
    """Runs of axes of two shapes, of as many elements each, that correspond to one another.

    Example:
        >>> factors_of((1, 6, 5, 5), (1, 2, 3, 25))
        [(range(0, 1), range(0, 1)), (range(1, 2), range(1, 3)), (range(2, 4), range(3, 4))]
    """
    runs, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        first_i, first_j = i, j
        size_i = size_j = 1
        if i < len(old) and j < len(new):
            size_i, size_j, i, j = old[i], new[j], i + 1, j + 1
        while size_i != size_j:
            if size_i < size_j:
                size_i, i = size_i * old[i], i + 1
            else:
                size_j, j = size_j * new[j], j + 1
        # Axes of one element at the end belong to no other run.
        if j == len(new):
            i = len(old) if all(size == 1 for size in old[i:]) else i
        if i == len(old):
            j = len(new) if all(size == 1 for size in new[j:]) else j
        runs.append((range(first_i, i), range(first_j, j)))
    return runs
