"""Which positions of an axis every position of the next one reads: windows, pads, interpolation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """The positions that are read along one axis.

    Args:
        index: (positions after, taps); the length of the axis stands for no position.
        ragged: whether any tap is of no position.
        gaps: which positions read nothing; None where every one reads something.
    """

    index: Index
    ragged: bool
    gaps: NDArray[np.bool_] | None


def taps_at(index: Index, length: int) -> Taps:
    """Taps at the given positions, of which those outside of the axis read nothing."""
    outside = (index < 0) | (index >= length)
    ragged = bool(outside.any())
    if not ragged:
        return Taps(index, False, None)
    gaps = np.asarray(outside.all(1))
    return Taps(np.where(outside, length, index), True, gaps if gaps.any() else None)


@lru_cache(maxsize=512)
def window_taps(
    length: int, after: int, kernel: int, stride: int, padding: int, dilation: int
) -> Taps:
    """A window of `kernel` taps from stride·y − padding on."""
    starts = np.arange(after)[:, None] * stride - padding
    return taps_at(starts + np.arange(kernel) * dilation, length)


@lru_cache(maxsize=128)
def transposed_taps(
    length: int, after: int, kernel: int, stride: int, padding: int, dilation: int
) -> Taps:
    """Position y of a transposed convolution reads (y + padding − dilation·k) / stride."""
    position = np.arange(after)[:, None] + padding - np.arange(kernel) * dilation
    return taps_at(np.where(position % stride == 0, position // stride, -1), length)


@lru_cache(maxsize=128)
def adaptive_taps(length: int, after: int) -> Taps:
    """From floor(y·H/H') up to ceil((y + 1)·H/H'), as adaptive pooling divides an axis."""
    first = np.arange(after) * length // after
    end = -(-(np.arange(1, after + 1) * length) // after)
    index = first[:, None] + np.arange((end - first).max())
    return taps_at(np.where(index < end[:, None], index, -1), length)


@lru_cache(maxsize=128)
def pad_taps(length: int, before: int, after: int, kind: str) -> Taps:
    """Padding by a constant, by reflection, or by repeating the border; less than 0 crops."""
    index = np.arange(-before, length + after)
    if kind == "reflection":
        index = np.abs(index)
        index = length - 1 - np.abs(length - 1 - index)
    elif kind == "replication":
        index = index.clip(0, length - 1)
    return taps_at(index[:, None], length)


def range_taps(positions: Sequence[int], length: int) -> Taps:
    """One position for each: slices, flips and rolls."""
    return taps_at(np.asarray(positions, dtype=np.intp)[:, None], length)


def running_taps(length: int) -> Taps:
    """Every position reads itself and those before it, as a cumulative sum does."""
    index = np.arange(length)
    return taps_at(np.where(index <= index[:, None], index, -1), length)


@lru_cache(maxsize=128)
def resize_taps(
    length: int, after: int, mode: str, align_corners: bool | None, scale: float | None
) -> Taps:
    """The positions whose weight in an interpolation is not zero.

    PyTorch itself says which: it resizes the rows of the identity, which gives all weights.
    """
    resize: Callable[..., Any] = getattr(torch.ops.aten, mode)
    rows = torch.eye(length, dtype=torch.float64, device="cpu")[None, None]
    options = () if align_corners is None else (align_corners,)
    with torch.no_grad():
        weights = resize(rows, [after, length], *options, scale, None)[0, 0].numpy()
    read = np.abs(weights) > 1e-9  # what rounding leaves of a weight of zero is less
    index = np.argsort(~read, axis=1, kind="stable")[:, : read.sum(1).max()]
    return taps_at(np.where(np.take_along_axis(read, index, 1), index, -1), length)
