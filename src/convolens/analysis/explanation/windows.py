"""Convolutions and poolings: a window of the input, term by term."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from convolens.analysis.explanation.head import OUTSIDE, Head, Integers, head_of
from convolens.analysis.explanation.passage import Passage
from convolens.analysis.explanation.places import EDGES, name_of
from convolens.analysis.field.arguments import Arguments, windows_of

Index = tuple[int, ...]


def convolution(passage: Passage, given: Arguments, index: Index) -> Head:
    """Σ over channels and taps of kernel · input, transposed or not."""
    x, weight = given.shape(0), given.shape(1)
    axes = len(x) - 2
    transposed, groups = bool(given.get(6)), int(given.get(8))
    stride, padding, dilation = (_each(given.get(at), axes) for at in (3, 4, 5))
    batch, out, *position = index
    if transposed:
        per_group = weight[1]
        first = out // per_group * (x[1] // groups)
        chosen: Any = (slice(first, first + x[1] // groups), out % per_group)
    else:
        first = out // (weight[0] // groups) * weight[1]
        chosen = out
    kernel = passage.pick(given.value(1), chosen)
    channels = first + np.arange(kernel.shape[0])
    taps, at = [], []
    for axis in range(axes):
        reach = dilation[axis] * np.arange(kernel.shape[axis + 1])
        if transposed:
            place = position[axis] + padding[axis] - reach
            read = (place % stride[axis] == 0) & (place >= 0)
            place = place // stride[axis]
            read &= place < x[axis + 2]
            taps.append(np.flatnonzero(read))
            at.append(place[read])
        else:
            taps.append(np.arange(len(reach)))
            at.append(position[axis] * stride[axis] - padding[axis] + reach)
    weights = kernel[np.ix_(np.arange(len(channels)), *taps)].reshape(-1)
    places = _grid([channels, *at])
    elements = _elements((batch, *places.T), x, len(places))
    shift, size = _padding_before(passage, given, x)
    before = places - np.array([0, *shift])
    padded = ((before[:, 1:] < 0) | (before[:, 1:] >= np.array(size))).any(axis=1)
    bias = float(passage.array(given.value(2))[out]) if given.value(2) >= 0 else None
    return head_of(
        passage,
        given.value(0),
        elements,
        weights,
        operation=_title(kernel, groups, stride, dilation, transposed),
        formula="Σ kernel · input" if bias is None else "Σ kernel · input + bias",
        places=before,
        padded=padded,
        bias=bias,
    )


def _title(
    kernel: NDArray[Any], groups: int, stride: Sequence[int], dilation: Sequence[int], turned: bool
) -> str:
    words = ["transposed convolution" if turned else "convolution"]
    words.append("×".join(map(str, kernel.shape[1:])))
    for name, option in (("stride", stride), ("dilation", dilation)):
        if any(side != 1 for side in option):
            sides = option[:1] if len(set(option)) == 1 else option
            words.append(f"{name} {'×'.join(map(str, sides))}")
    if groups > 1:
        words.append(f"{groups} groups")
    return ", ".join([" ".join(words[:2]), *words[2:]])


def _padding_before(passage: Passage, given: Arguments, x: Index) -> tuple[Index, Index]:
    """What the layer itself added before the first position, and the size that it was given."""
    axes = len(x) - 2
    operation = passage.producers.get(given.value(0))
    none = (0,) * axes, x[2:]
    if operation is None or not passage.is_one_layer(operation, given.operation):
        return none
    if name_of(operation) in EDGES or name_of(operation) == "constant_pad_nd":
        pads = tuple(operation.args[1])
    else:
        module = passage.module(operation.call)
        is_circular = isinstance(module, nn.modules.conv._ConvNd)
        pads = tuple(module._reversed_padding_repeated_twice) if is_circular else ()  # type: ignore[arg-type]
    if not any(pads):
        return none
    pairs = [(pads[2 * n], pads[2 * n + 1]) for n in range(len(pads) // 2)][:axes][::-1]
    pairs = [(0, 0)] * (axes - len(pairs)) + pairs
    sizes = [n - before - after for n, (before, after) in zip(x[2:], pairs, strict=True)]
    return tuple(before for before, _ in pairs), tuple(sizes)


def max_pool(passage: Passage, given: Arguments, index: Index) -> Head:
    """The greatest of the window; the winner has the weight 1."""
    windows = windows_of(given) or ()
    at = [
        window.stride * i - window.padding + window.dilation * np.arange(window.kernel)
        for window, i in zip(windows, index[len(index) - len(windows) :], strict=True)
    ]
    return _greatest(passage, given, index, at)


def adaptive_max_pool(passage: Passage, given: Arguments, index: Index) -> Head:
    """The greatest of the part of the input that belongs to this position."""
    return _greatest(passage, given, index, _parts(given, index))


def _greatest(passage: Passage, given: Arguments, index: Index, at: list[Integers]) -> Head:
    places, elements = _windowed(given, index, at)
    flat = passage.array(given.value(0)).reshape(-1)
    read = np.where(elements == OUTSIDE, -np.inf, flat[elements])
    weights = np.zeros(len(read))
    weights[int(read.argmax())] = 1.0
    return head_of(
        passage,
        given.value(0),
        elements,
        weights,
        operation=f"max pool {'×'.join(str(len(axis)) for axis in at)}",
        formula="the greatest value; the winner has weight 1",
        places=places,
        outside=-np.inf,
    )


def average_pool(passage: Passage, given: Arguments, index: Index) -> Head:
    """The mean of the window, whose padding is counted or not."""
    windows = windows_of(given) or ()
    counts_padding = bool(given.get(5, True))
    at, inside = [], []
    for axis, (window, i) in enumerate(
        zip(windows, index[len(index) - len(windows) :], strict=True), start=-len(windows)
    ):
        size, first = given.shape(0)[axis], window.stride * i - window.padding
        # A window that ceil mode lets hang over the padding ends there.
        last = min(first + window.kernel, size + window.padding)
        place = np.arange(first, last)
        at.append(place)
        inside.append(int(((place >= 0) & (place < size)).sum()))
    divisor = given.get(6) or prod(len(axis) for axis in at)
    if not given.get(6) and not counts_padding:
        divisor = prod(inside)
    places, elements = _windowed(given, index, at)
    counted = counts_padding | (elements != OUTSIDE)
    return head_of(
        passage,
        given.value(0),
        elements,
        np.where(counted, 1.0 / divisor, 0.0),
        operation=f"average pool {'×'.join(str(len(axis)) for axis in at)}",
        formula=f"Σ value / {divisor}",
        places=places,
    )


def adaptive_average_pool(passage: Passage, given: Arguments, index: Index) -> Head:
    """The mean of the part of the input that belongs to this position."""
    at = _parts(given, index)
    places, elements = _windowed(given, index, at)
    return head_of(
        passage,
        given.value(0),
        elements,
        np.full(len(elements), 1.0 / len(elements)),
        operation=f"average pool {'×'.join(str(len(axis)) for axis in at)}",
        formula=f"Σ value / {len(elements)}",
        places=places,
    )


def _parts(given: Arguments, index: Index) -> list[Integers]:
    """From floor(i·H/H') up to ceil((i + 1)·H/H'), as adaptive pooling divides each axis."""
    sizes = tuple(given.get(1))
    parts = []
    for axis in range(-len(sizes), 0):
        size, after, i = given.shape(0)[axis], given.output[axis], index[axis]
        parts.append(np.arange(i * size // after, -(-(i + 1) * size // after)))
    return parts


def _windowed(given: Arguments, index: Index, at: Sequence[Integers]) -> tuple[Integers, Integers]:
    """Places without the batch, and elements, of a window in one channel."""
    x = given.shape(0)
    fixed = index[: len(x) - len(at)]
    window = _grid(at)
    columns = [np.full(len(window), i) for i in fixed] + list(window.T)
    elements = _elements(tuple(columns), x, len(window))
    return np.stack(columns, axis=1)[:, 1:], elements


def _grid(axes: Sequence[Integers]) -> Integers:
    """Every combination of positions, the last axis fastest, (n, axes)."""
    return np.stack([axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def _elements(columns: Sequence[Any], shape: Index, count: int) -> Integers:
    """Places as elements of a tensor, or OUTSIDE."""
    full = [np.broadcast_to(np.asarray(column), (count,)) for column in columns]
    inside = np.ones(count, dtype=bool)
    for column, size in zip(full, shape, strict=True):
        inside &= (column >= 0) & (column < size)
    held = [np.where(inside, column, 0) for column in full]
    return np.where(inside, np.ravel_multi_index(tuple(held), shape), OUTSIDE).astype(np.int64)


def _each(option: Any, axes: int) -> tuple[int, ...]:
    items = (option,) if isinstance(option, int) else tuple(option)
    return items * axes if len(items) == 1 else items
