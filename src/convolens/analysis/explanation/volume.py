"""Terms as a volume: patch, kernel and products of every channel, as a person draws them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convolens.analysis.explanation.result import Explanation

Grid = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """The terms of an explanation by channel, row and column; NaN where there is no term.

    Args:
        source: the layer whose volume it is a part of.
        channels, ys, xs: positions along the three axes.
        values, weights, products: (C, H, W).
        padded: which values are padding, (C, H, W).
    """

    source: str
    channels: tuple[int, ...]
    ys: tuple[int, ...]
    xs: tuple[int, ...]
    values: Grid
    weights: Grid
    products: Grid
    padded: NDArray[np.bool_]

    @property
    def sums(self) -> Grid:
        """The sum of each channel's products, (C,)."""
        sums: Grid = np.nansum(self.products, axis=(1, 2))
        return sums

    def strongest(self, count: int) -> list[int]:
        """The indices of the channels whose sums are greatest in size, the greatest first."""
        return [int(n) for n in np.argsort(-np.abs(self.sums), kind="stable")[:count]]


def volume_of(explanation: Explanation) -> Volume | None:
    """The terms as a volume; None where they have no rows and columns.

    The terms of a layer that reads a flattened volume are put back where they were.

    Example:
        >>> import torch
        >>> from convolens.analysis.explanation.unit import explain_unit
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> volume_of(explain_unit(net, torch.ones(1, 3, 2, 2), "1", (0,))).values.shape
        (3, 2, 2)
    """
    terms = explanation.terms
    places = [term.place for term in terms]
    if len(terms) < 2 or len({term.source for term in terms if term.source}) > 1:
        return None
    if any(len(place) != 3 for place in places):
        places = [term.unit for term in terms]
        if any(len(place) != 3 for place in places):
            return None
    at = np.array(places)
    axes = [np.unique(at[:, axis]) for axis in range(3)]
    index = tuple(np.searchsorted(axis, at[:, n]) for n, axis in enumerate(axes))
    shape = tuple(len(axis) for axis in axes)

    def filled(numbers: list[float]) -> Grid:
        grid = np.full(shape, np.nan)
        grid[index] = numbers
        return grid

    padded = np.zeros(shape, dtype=bool)
    padded[index] = [term.padded for term in terms]
    return Volume(
        source=next((term.source for term in terms if term.source), ""),
        channels=tuple(axes[0].tolist()),
        ys=tuple(axes[1].tolist()),
        xs=tuple(axes[2].tolist()),
        values=filled([term.value for term in terms]),
        weights=filled([term.weight for term in terms]),
        products=filled([term.product for term in terms]),
        padded=padded,
    )
