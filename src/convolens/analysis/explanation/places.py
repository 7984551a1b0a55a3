"""Where the elements of a tensor come from, when they were only moved."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convolens.analysis.explanation.passage import OVERWRITE, Passage
from convolens.analysis.field.arguments import plain_name
from convolens.analysis.graph import Operation, Ref

aten = torch.ops.aten
SAME = frozenset(
    {
        *("alias", "detach", "clone", "contiguous", "_to_copy", "lift_fresh", "lift", "to"),
        *("lift_fresh_copy", "view_copy", "alias_copy"),
    }
)
VIEWS = frozenset({"view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten"})
FILLED = frozenset(
    {
        *("new_empty", "new_zeros", "new_ones", "new_full", "empty", "zeros", "ones", "full"),
        *("empty_like", "zeros_like", "ones_like", "full_like"),
    }
)
EDGES = frozenset(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3))
# These give the elements that they are given, each where it is told to.
MOVES = frozenset(
    {
        *("unsqueeze", "squeeze", "t", "transpose", "permute", "expand", "slice", "select"),
        *("narrow", "split", "split_with_sizes", "unbind", "cat", "stack", "repeat", "flip"),
        *("unsafe_split", "unsafe_split_with_sizes"),
        *("roll", "rot90", "unfold", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
        *("native_channel_shuffle", "movedim", "im2col", "diagonal"),
        *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"),
        *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)),
        *("constant_pad_nd", "copy", "overwrite"),
        *(SAME | VIEWS | EDGES),
    }
)
NOWHERE = -1  # the number of an element that is a constant of the operation itself


@dataclass(frozen=True, eq=False)
class Origins:
    """Where the elements of a value were computed.

    Args:
        numbers: for every element the number of the one that it is, or NOWHERE.
        sources: (first number, value) of the values whose elements are numbered, ascending.
        padded: whether an element was added by padding.
    """

    numbers: Tensor
    sources: tuple[tuple[int, int], ...]
    padded: Tensor

    def of(self, elements: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The values that elements were computed as, and their places there, NOWHERE for none."""
        numbers = self.numbers.view(-1).numpy()[elements]
        firsts, values = np.array(self.sources, dtype=np.int64).T
        which = np.searchsorted(firsts, numbers, side="right") - 1
        made = numbers != NOWHERE
        return np.where(made, values[which], NOWHERE), np.where(
            made, numbers - firsts[which], NOWHERE
        )

    def of_one(self, element: int) -> tuple[int, int] | None:
        """The same for one element; None for none."""
        values, elements = self.of(np.array([element]))
        return None if values[0] == NOWHERE else (int(values[0]), int(elements[0]))


def moves(operation: Operation) -> bool:
    """Whether an operation only moves elements."""
    return name_of(operation) in MOVES


def name_of(operation: Operation) -> str:
    """The operation without its namespace, and without the mark of writing in place."""
    return "overwrite" if operation.name == OVERWRITE else plain_name(operation.name)


def origins_of(passage: Passage, value: int) -> Origins:
    """Follows the elements of a value back to the operations that computed them.

    The operations in between are done again with the numbers of the elements in their place.
    """
    path, ends = _path(passage, value)
    numbered: dict[int, Tensor] = {}
    plain: dict[int, Tensor] = {}
    sources, total = [], 0
    for end in sorted(ends):
        shape = passage.shape(end)
        sources.append((total, end))
        numbered[end] = torch.arange(total, total + prod(shape), dtype=torch.float64).reshape(shape)
        plain[end] = torch.zeros(shape, dtype=torch.float64)
        total += prod(shape)
    edges = any(name_of(operation) in EDGES for operation in path)
    for operation in path:
        _repeat(passage, operation, numbered, edges=False)
        if edges:
            _repeat(passage, operation, plain, edges=True)
    numbers = numbered[value].to(torch.int64).contiguous()
    padded = plain[value] != 0 if edges else numbers == NOWHERE
    return Origins(numbers, tuple(sources), padded.contiguous())


def _path(passage: Passage, value: int) -> tuple[list[Operation], set[int]]:
    """The operations that moved the elements, in order, and the values that they began as."""
    path: dict[int, Operation] = {}
    ends: set[int] = set()
    waiting, seen = [value], {value}
    while waiting:
        at = waiting.pop()
        operation = passage.producers.get(at)
        known = operation is not None and (moves(operation) or name_of(operation) in FILLED)
        if operation is None or not known or (name_of(operation) in FILLED and at == value):
            ends.add(at)
            continue
        path[operation.index] = operation
        if name_of(operation) in FILLED:
            continue
        for given in operation.inputs:
            if given not in seen:
                seen.add(given)
                waiting.append(given)
    return [path[index] for index in sorted(path)], ends


def _repeat(
    passage: Passage, operation: Operation, known: dict[int, Tensor], *, edges: bool
) -> None:
    """Does an operation with numbers in place of values; with `edges`, padding becomes 1."""

    def resolve(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return known[argument.value]
        if isinstance(argument, tuple):
            return [resolve(item) for item in argument]
        return argument

    name, constant = name_of(operation), 1.0 if edges else float(NOWHERE)
    output = passage.shape(operation.outputs[0])
    results: Any
    if name in FILLED:
        results = torch.full(output, constant, dtype=torch.float64)
    else:
        args = [resolve(argument) for argument in operation.args]
        results = _done(name, args, dict(operation.kwargs), output, constant, edges)
    results = [results] if isinstance(results, Tensor) else results
    known.update(zip(operation.outputs, results, strict=True))


def _done(
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    output: tuple[int, ...],
    constant: float,
    edges: bool,
) -> Any:
    if name in VIEWS:
        return args[0].reshape(output)
    if name in SAME:
        return args[0].clone() if name in ("clone", "_to_copy", "contiguous") else args[0]
    if name == "overwrite":
        return args[0]  # what was written into its memory is there already
    if name == "copy":
        return args[0].copy_(args[1])
    if name == "constant_pad_nd" or (edges and name in EDGES):
        return aten.constant_pad_nd(args[0], args[1], constant)
    return getattr(aten, name)(*args, **kwargs)
