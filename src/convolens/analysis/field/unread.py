"""Pixels of a layer's input that none of its windows reads."""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from convolens.analysis.field.arguments import Arguments, windows_of
from convolens.analysis.field.taps import window_taps
from convolens.analysis.graph import Trace


@dataclass(frozen=True, slots=True)
class Unread:
    """What the windows of one layer leave out.

    Args:
        operation: index of the operation in the trace.
        place: path of the layer.
        size: positions of the layer's input along each axis [px].
        skipped: positions along each axis that are in no window.
        pixels: pixels of one channel that are in no window.
    """

    operation: int
    place: str
    size: tuple[int, ...]
    skipped: tuple[int, ...]
    pixels: int

    @property
    def rows(self) -> int:
        """Rows that no window reads; 0 for an input with one axis."""
        return self.skipped[-2] if len(self.skipped) > 1 else 0

    @property
    def cols(self) -> int:
        """Columns that no window reads."""
        return self.skipped[-1]


def unread(trace: Trace) -> tuple[Unread, ...]:
    """The layers whose windows do not read all of their input, with the number of pixels left out.

    A window's last position may end before the border, where (H + 2P − D(K−1) − 1) / S leaves a
    remainder; and a stride may step over pixels. Padding is not counted.

    Example:
        >>> from torch import nn
        >>> from convolens.analysis.summarize import summarize
        >>> graph = summarize(nn.Sequential(nn.Conv2d(3, 96, 11, stride=4)), (3, 224, 224))
        >>> unread(graph.trace)[0].rows, unread(graph.trace)[0].pixels
        (1, 447)
    """
    found = []
    for operation in trace.operations:
        given = Arguments(operation, trace)
        windows = windows_of(given)
        if windows is None or (given.name == "convolution" and given.get(6)):
            continue
        first = len(given.output) - len(windows)
        size = given.shape(0)[first:]
        skipped = tuple(
            [
                _skipped(n, m, w.kernel, w.stride, w.padding, w.dilation)
                for n, m, w in zip(size, given.output[first:], windows, strict=True)
            ]
        )
        if any(skipped):
            pixels = prod(size) - prod(n - s for n, s in zip(size, skipped, strict=True))
            place = trace.calls[operation.call].path
            found.append(Unread(operation.index, place, size, skipped, pixels))
    return tuple(found)


@lru_cache(maxsize=512)
def _skipped(length: int, after: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    index = window_taps(length, after, kernel, stride, padding, dilation).index
    return length - int(np.count_nonzero(np.bincount(index.ravel(), minlength=length + 1)[:length]))
