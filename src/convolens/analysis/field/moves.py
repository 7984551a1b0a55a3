"""What the result of an operation reads that only moves, repeats or leaves out elements."""

from collections.abc import Mapping
from math import prod

import numpy as np

from convolens.analysis.field.arguments import is_in_place, paddings_of
from convolens.analysis.field.names import MAKERS, PADDINGS, RESHAPES, SPLITS
from convolens.analysis.field.reach import (
    Reach,
    concatenated,
    gathered,
    permuted,
    reshaped,
    widened,
)
from convolens.analysis.field.step import Results, Rule, Step, UnknownError
from convolens.analysis.field.taps import Taps, pad_taps, range_taps, window_taps
from convolens.analysis.graph import Ref
from convolens.geometry import output_size


def _reshape(step: Step) -> Results:
    old, new = step.shape(0), step.output
    if prod(old) != prod(new) or not prod(old):
        raise UnknownError
    return reshaped(step.first(), old, new)


def _permute(step: Step) -> Results:
    rank = len(step.shape(0))
    order = list(range(rank))
    if step.name == "permute":
        order = [axis % rank for axis in step.get(1)]
    elif step.name == "transpose" or rank == 2:
        a, b = (0, 1) if step.name == "t" else (step.axis(1), step.axis(2))
        order[a], order[b] = order[b], order[a]
    return permuted(step.first(), order)


def _slice(step: Step) -> Results:
    axis, cut = step.axis(1), step.cut()
    return _cut(step.first(), axis, cut)


def _cut(reach: Reach, axis: int, cut: range) -> Reach:
    where = (*[slice(None)] * (axis + 1), slice(cut.start, cut.stop, cut.step))
    arrays = [b[where] if b.shape[axis + 1] > 1 else b for b in reach.axes]
    return Reach(tuple(arrays), reach.full)


def _without(reach: Reach, axis: int) -> Reach:
    """Without an axis along which there is one element."""
    return Reach(tuple([bounds.squeeze(axis + 1) for bounds in reach.axes]), reach.full)


def _select(step: Step) -> Results:
    axis = step.axis(1)
    at = step.get(2) % step.shape(0)[axis]
    return _without(_cut(step.first(), axis, range(at, at + 1)), axis)


def _split(step: Step) -> Results:
    reach, axis = step.first(), step.axis(2)
    return [_cut(reach, axis, range(first, end)) for first, end in step.pieces()]


def _unbind(step: Step) -> Results:
    reach, axis = step.first(), step.axis(1)
    length = step.shape(0)[axis]
    return [_without(_cut(reach, axis, range(at, at + 1)), axis) for at in range(length)]


def _flip(step: Step) -> Results:
    arrays = [np.flip(bounds, tuple(a + 1 for a in step.axes(1))) for bounds in step.first().axes]
    return Reach(tuple(arrays), step.first().full)


def _roll(step: Step) -> Results:
    shifts, axes = step.get(1), step.get(2, ())
    shifts = [shifts] if isinstance(shifts, int) else shifts
    if not axes:
        shape = step.shape(0)
        flat = reshaped(step.first(), shape, [prod(shape)])
        return reshaped(_rolled(flat, 0, shifts[0]), [prod(shape)], shape)
    reach = step.first()
    for axis, shift in zip(step.axes(2), shifts, strict=True):
        reach = _rolled(reach, axis, shift)
    return reach


def _rolled(reach: Reach, axis: int, shift: int) -> Reach:
    return Reach(tuple([np.roll(bounds, shift, axis + 1) for bounds in reach.axes]), reach.full)


def _rot90(step: Step) -> Results:
    turns, axes = step.get(1, 1), step.get(2, (0, 1))
    rank = len(step.shape(0))
    a, b = (axis % rank + 1 for axis in axes)
    arrays = [np.rot90(bounds, turns, (a, b)) for bounds in step.first().axes]
    return Reach(tuple(arrays), step.first().full)


def _expand(step: Step) -> Results:
    return widened(step.first(), len(step.output))


def _repeat(step: Step) -> Results:
    times = step.get(1)
    reach = widened(step.first(), len(times))
    arrays = []
    for bounds in reach.axes:
        for axis, count in enumerate(times):
            if count > 1 and bounds.shape[axis + 1] > 1:
                bounds = np.concatenate([bounds] * count, axis + 1)
        arrays.append(bounds)
    return Reach(tuple(arrays), reach.full)


def _repeat_interleave(step: Step) -> Results:
    times, axis = step.get(1), step.get(2)
    if not isinstance(times, int) or axis is None:
        raise UnknownError
    length = step.shape(0)[axis]
    positions = [at // times for at in range(length * times)]
    return gathered(step.first(), step.axis(2), range_taps(positions, length))


def _cat(step: Step) -> Results:
    # PyTorch lets empty tensors of one axis be among the pieces.
    shapes = [(ref, step.trace.shape(ref)) for ref in step.get(0)]
    rank = len(step.output)
    axis = step.get(1, 0) % rank
    pieces = [(step.reaches.get(r.value), shape[axis]) for r, shape in shapes if len(shape) == rank]
    return concatenated(pieces, axis)


def _stack(step: Step) -> Results:
    rank = len(step.output)
    axis = step.get(1, 0) % rank
    pieces = []
    for ref in step.get(0):
        reach, shape = step.reaches.get(ref.value), list(step.trace.shape(ref))
        if reach is not None:
            reach = reshaped(reach, shape, [*shape[:axis], 1, *shape[axis:]])
        pieces.append((reach, 1))
    return concatenated(pieces, axis)


def _pixel_shuffle(step: Step) -> Results:
    *lead, c, h, w = step.shape(0)
    r, k = step.get(1), len(lead)
    reach = reshaped(step.first(), step.shape(0), [*lead, c // (r * r), r, r, h, w])
    reach = permuted(reach, [*range(k + 1), k + 3, k + 1, k + 4, k + 2])
    return reshaped(reach, [*lead, c // (r * r), h, r, w, r], step.output)


def _pixel_unshuffle(step: Step) -> Results:
    *lead, c, h, w = step.shape(0)
    r, k = step.get(1), len(lead)
    reach = reshaped(step.first(), step.shape(0), [*lead, c, h // r, r, w // r, r])
    reach = permuted(reach, [*range(k + 1), k + 2, k + 4, k + 1, k + 3])
    return reshaped(reach, [*lead, c, r, r, h // r, w // r], step.output)


def _channel_shuffle(step: Step) -> Results:
    n, c, *rest = step.shape(0)
    g = step.get(1)
    reach = reshaped(step.first(), step.shape(0), [n, g, c // g, *rest])
    reach = permuted(reach, [0, 2, 1, *range(3, reach.rank)])
    return reshaped(reach, [n, c // g, g, *rest], step.output)


def _windows(reach: Reach, shape: list[int], axis: int, taps: Taps) -> Reach:
    """Every window of an axis, with its taps along a new last axis."""
    after, kernel = taps.index.shape
    flat = Taps(taps.index.reshape(-1, 1), taps.ragged, None)
    if taps.ragged:
        flat = Taps(flat.index, True, flat.index[:, 0] == shape[axis])
    reach = gathered(reach, axis, flat)
    dims = [*shape[:axis], after * kernel, *shape[axis + 1 :]]
    reach = reshaped(reach, dims, [*shape[:axis], after, kernel, *shape[axis + 1 :]])
    order = [a for a in range(reach.rank) if a != axis + 1]
    return permuted(reach, [*order, axis + 1])


def _unfold(step: Step) -> Results:
    axis, size, stride = step.axis(1), step.get(2), step.get(3)
    shape = list(step.shape(0))
    taps = window_taps(shape[axis], step.output[axis], size, stride, 0, 1)
    return _windows(step.first(), shape, axis, taps)


def _im2col(step: Step) -> Results:
    if len(step.shape(0)) != 4:
        raise UnknownError
    n, c, h, w = step.shape(0)
    columns = [*step.get(1), *step.get(2), *step.get(3), *step.get(4)]
    kernels, dilations, paddings, strides = (columns[2 * i : 2 * i + 2] for i in range(4))
    sizes = [
        output_size(size, k, stride=s, padding=p, dilation=d)
        for size, k, d, p, s in zip((h, w), kernels, dilations, paddings, strides, strict=True)
    ]
    reach, shape = step.first(), [n, c, h, w]
    for number in range(2):
        taps = window_taps(
            *(shape[2 + number], sizes[number], kernels[number]),
            *(strides[number], paddings[number], dilations[number]),
        )
        reach = _windows(reach, shape, 2 + number, taps)
        shape = [*shape[: 2 + number], sizes[number], *shape[3 + number :], kernels[number]]
    reach = permuted(reach, [0, 1, 4, 5, 2, 3])
    return reshaped(reach, [n, c, *kernels, *sizes], step.output)


def _pad(step: Step) -> Results:
    reach, kind = step.first(), step.name.partition("_")[0]
    for axis, before, after in paddings_of(step):
        if before or after:
            reach = gathered(reach, axis, pad_taps(step.shape(0)[axis], before, after, kind))
    return reach


def _index(step: Step) -> Results:
    """An index of which the values are not known tells nothing unless the channels are alike."""
    reach = step.first()
    places = step.get(1)
    places = [None] * step.axis(1) + [step.get(2)] if step.name == "index_select" else places
    used = [axis for axis, place in enumerate(places) if isinstance(place, Ref)]
    if len(used) != 1 or reach.varying(used[0]):
        raise UnknownError
    at = used[0]
    place = step.trace.values[places[at].value]
    if "bool" in str(place.dtype) or "uint8" in str(place.dtype):
        raise UnknownError
    shape = [reach.rank, *([1] * len(place.shape))]
    arrays = [
        bounds.reshape(*bounds.shape[: at + 1], *shape[1:], *bounds.shape[at + 2 :])
        for bounds in reach.axes
    ]
    return Reach(tuple(arrays), reach.full)


def _copy(step: Step) -> Results:
    reach = step.reach(1)
    return None if reach is None else widened(reach, len(step.output))


def _restride(step: Step) -> Results:
    """PyTorch's own results are given their strides so; the elements are what they were."""
    if not is_in_place(step.operation.name) or tuple(step.get(1)) != step.shape(0):
        raise UnknownError
    return step.first()


MOVES: Mapping[str, Rule] = {
    **dict.fromkeys(RESHAPES, _reshape),
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    **dict.fromkeys(PADDINGS, _pad),
    **dict.fromkeys(SPLITS, _split),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channel_shuffle),
    **dict.fromkeys(("index", "index_select"), _index),
    **dict.fromkeys(MAKERS, lambda _: None),
    "as_strided": _restride,
    "cat": _cat,
    "copy": _copy,
    "expand": _expand,
    "flip": _flip,
    "im2col": _im2col,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "repeat": _repeat,
    "repeat_interleave": _repeat_interleave,
    "roll": _roll,
    "rot90": _rot90,
    "select": _select,
    "slice": _slice,
    "stack": _stack,
    "unbind": _unbind,
    "unfold": _unfold,
}
