"""What every element of a tensor reads of the input: intervals, in arrays that broadcast.

An element reads a rectangle of the input: an interval along each of the input's axes. Along most
axes of a tensor the intervals do not change (rows do not depend on the column), so each array has
one element there and broadcasts. Whatever moves elements then moves these small arrays alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from convolens.analysis.field.arguments import factors_of
from convolens.analysis.field.taps import Taps

Bounds = NDArray[np.int32]
NOTHING = 1 << 30
MAX_ELEMENTS = 1 << 25


class TooLargeError(Exception):
    """The intervals of a value would fill the memory."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What the elements of one tensor read.

    Args:
        axes: for each axis of the input an array (2, *dims) of first and minus last position, so
            that the union of intervals is the minimum of both; dims broadcast to the tensor's
            shape. An element whose interval is NOTHING along any axis reads nothing.
        full: whether every element reads something.
    """

    axes: tuple[Bounds, ...]
    full: bool = True

    @property
    def rank(self) -> int:
        """The number of the tensor's axes."""
        return self.axes[0].ndim - 1

    def varying(self, axis: int) -> int:
        """How many of the arrays change along an axis of the tensor."""
        return sum(bounds.shape[axis + 1] > 1 for bounds in self.axes)


def of_input(shape: Sequence[int], axes: Sequence[int]) -> Reach:
    """Every element of the input reads its own position along the given axes."""
    arrays = []
    for axis in axes:
        at = np.arange(shape[axis], dtype=np.int32)
        dims = [2] + [1] * len(shape)
        dims[axis + 1] = shape[axis]
        arrays.append(np.stack([at, -at]).reshape(dims))
    return Reach(tuple(arrays))


def whole(sizes: Sequence[int], rank: int) -> Reach:
    """Every element reads the whole input."""
    dims = (2, *[1] * rank)
    return Reach(tuple([np.array([0, 1 - n], dtype=np.int32).reshape(dims) for n in sizes]))


def checked(axes: Iterable[Bounds]) -> Reach:
    """A reach of arrays of which it is not known whether they have empty intervals."""
    arrays = tuple(axes)
    return Reach(arrays, not any((bounds[0] >= NOTHING).any() for bounds in arrays))


def settled(reach: Reach) -> Reach:
    """The same, with an element that reads nothing empty along every axis of the input."""
    if reach.full:
        return reach
    empty = [bounds[0] >= NOTHING for bounds in reach.axes]
    arrays = list(reach.axes)
    for number, mask in enumerate(empty):
        if mask.any():
            for other, bounds in enumerate(arrays):
                if other != number:
                    dims = np.broadcast_shapes(mask.shape, bounds.shape[1:])
                    _check(prod(dims))
                    arrays[other] = np.where(mask, np.int32(NOTHING), bounds)
    return Reach(tuple(arrays), full=False)


def union(a: Reach | None, b: Reach | None) -> Reach | None:
    """What the elements of two tensors of broadcast shapes read together."""
    if a is None or b is None or a is b:
        return b if a is None else a
    if a.rank != b.rank:
        rank = max(a.rank, b.rank)
        a, b = widened(a, rank), widened(b, rank)
    if a.full and b.full:
        return Reach(tuple([np.minimum(p, q) for p, q in zip(a.axes, b.axes, strict=True)]))
    if _covers(a, b):
        return a
    if _covers(b, a):
        return b
    a, b = settled(a), settled(b)
    both = []
    for p, q in zip(a.axes, b.axes, strict=True):
        _check(prod(np.broadcast_shapes(p.shape, q.shape)))
        both.append(np.minimum(p, q))
    return compacted(checked(both))


def _covers(a: Reach, b: Reach) -> bool:
    """Whether a's intervals hold b's at every element."""
    return all(bool((p <= q).all()) for p, q in zip(a.axes, b.axes, strict=True))


def widened(reach: Reach, rank: int) -> Reach:
    """With axes of one element in front, as broadcasting adds them."""
    missing = (1,) * (rank - reach.rank)
    return Reach(
        tuple([bounds.reshape(2, *missing, *bounds.shape[1:]) for bounds in reach.axes]), reach.full
    )


def compacted(reach: Reach) -> Reach:
    """With one element along each axis where an array does not change."""
    arrays = []
    for bounds in reach.axes:
        for axis in range(1, bounds.ndim):
            if bounds.shape[axis] > 1:
                first = bounds.take([0], axis)
                bounds = first if (bounds == first).all() else bounds
        arrays.append(bounds)
    return Reach(tuple(arrays), reach.full)


def gathered(reach: Reach, axis: int, taps: Taps) -> Reach:
    """Every position along an axis reads what the positions named by its taps read."""
    if not reach.full and taps.index.shape[1] > 1 and reach.varying(axis) > 1:
        reach = settled(reach)
    varies = False
    arrays = []
    for bounds in reach.axes:
        if bounds.shape[axis + 1] > 1:
            varies = True
            _check(bounds.size // bounds.shape[axis + 1] * taps.index.size)
            bounds = _taken(bounds, axis + 1, taps)
        arrays.append(bounds)
    if taps.gaps is None:
        return Reach(tuple(arrays), True) if reach.full else checked(arrays)
    if not varies:
        dims = [1] * arrays[0].ndim
        dims[axis + 1] = len(taps.gaps)
        arrays[0] = np.where(taps.gaps.reshape(dims), np.int32(NOTHING), arrays[0])
    return Reach(tuple(arrays), full=False)


def _taken(bounds: Bounds, axis: int, taps: Taps) -> Bounds:
    if taps.ragged:
        dims = list(bounds.shape)
        dims[axis] = 1
        bounds = np.concatenate([bounds, np.full(dims, NOTHING, dtype=np.int32)], axis)
    if taps.index.shape[1] == 1:
        return bounds.take(taps.index[:, 0], axis)
    return np.asarray(bounds.take(taps.index, axis).min(axis + 1))


def merged(reach: Reach, axes: Iterable[int]) -> Reach:
    """Every element reads what all elements along the axes read; one element is left there."""
    for axis in axes:
        varying = reach.varying(axis)
        if varying:
            reach = settled(reach) if varying > 1 else reach
            arrays = [
                bounds.min(axis + 1, keepdims=True) if bounds.shape[axis + 1] > 1 else bounds
                for bounds in reach.axes
            ]
            reach = Reach(tuple(arrays)) if reach.full else checked(arrays)
    return reach


def grouped(reach: Reach, axis: int, size: int, groups: int, out: int) -> Reach:
    """Every one of `out` positions along an axis reads all positions of its group."""
    if groups == 1:
        return merged(reach, [axis])
    varying = reach.varying(axis)
    if not varying:
        return reach
    reach = settled(reach) if varying > 1 and groups < size else reach
    arrays = []
    for bounds in reach.axes:
        if bounds.shape[axis + 1] > 1:
            before, after = bounds.shape[: axis + 1], bounds.shape[axis + 2 :]
            if groups < size:
                bounds = bounds.reshape(*before, groups, size // groups, *after).min(axis + 2)
            bounds = bounds if out == groups else bounds.repeat(out // groups, axis + 1)
        arrays.append(bounds)
    return Reach(tuple(arrays)) if reach.full else checked(arrays)


def reshaped(reach: Reach, old: Sequence[int], new: Sequence[int]) -> Reach:
    """The elements in the same order in another shape."""
    if tuple(old) == tuple(new):
        return reach
    runs = factors_of(old, new)
    splits = False
    arrays = []
    for bounds in reach.axes:
        dims = bounds.shape[1:]
        spread: list[int] = []
        target: list[int] = []
        for before, after in runs:
            constant = all(dims[axis] == 1 for axis in before)
            spread += [dims[axis] if constant else old[axis] for axis in before]
            target += [1 if constant else new[axis] for axis in after]
            splits = splits or (not constant and len(after) > 1)
        _check(prod(spread))
        arrays.append(np.broadcast_to(bounds, (2, *spread)).reshape(2, *target))
    result = Reach(tuple(arrays), reach.full)
    return compacted(result) if splits else result


def permuted(reach: Reach, order: Sequence[int]) -> Reach:
    """The axes of the tensor in another order."""
    places = (0, *[axis + 1 for axis in order])
    return Reach(tuple([bounds.transpose(places) for bounds in reach.axes]), reach.full)


def concatenated(pieces: Sequence[tuple[Reach | None, int]], axis: int) -> Reach | None:
    """Tensors, each with its length along the axis, one after the other."""
    pieces = [piece for piece in pieces if piece[1]]
    first = next((reach for reach, _ in pieces if reach is not None), None)
    if first is None:
        return None
    # Every kind of piece once: most branches are concatenated again and again.
    if all(reach is first for reach, _ in pieces) and not first.varying(axis):
        return first
    reaches = [_absent(first) if reach is None else reach for reach, _ in pieces]
    arrays = []
    for number in range(len(first.axes)):
        parts = [reach.axes[number] for reach in reaches]
        if all(part.shape[axis + 1] == 1 for part in parts) and _are_equal(parts):
            arrays.append(parts[0])
            continue
        dims = list(np.broadcast_shapes(*[_without(part.shape, axis + 1) for part in parts]))
        spread = []
        for part, (_, length) in zip(parts, pieces, strict=True):
            dims[axis + 1] = length
            spread.append(np.broadcast_to(part, dims))
        _check(sum(part.size for part in spread))
        arrays.append(np.concatenate(spread, axis + 1))
    return Reach(tuple(arrays), all(reach.full for reach in reaches))


def _absent(like: Reach) -> Reach:
    dims = (2, *[1] * like.rank)
    return Reach(tuple([np.full(dims, NOTHING, dtype=np.int32) for _ in like.axes]), full=False)


def _are_equal(parts: Sequence[Bounds]) -> bool:
    return all(part is parts[0] or np.array_equal(part, parts[0]) for part in parts[1:])


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _check(elements: int) -> None:
    if elements > MAX_ELEMENTS:
        raise TooLargeError
