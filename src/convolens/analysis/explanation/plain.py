"""An explanation as text for a terminal: small grids of numbers, and lines of arithmetic."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from convolens.analysis.explanation.result import Explanation, Step, Term
from convolens.analysis.explanation.volume import Grid, Volume, volume_of

MOST_CHANNELS = 3
MOST_TERMS = 8
WIDTH = 130
LARGEST_GRID = 12
CELL = 8
FORMS = ("3g", "1e", "0e")


def text_of(explanation: Explanation) -> str:
    """Patch, kernel and products channel by channel, the sum, and what follows.

    Of many channels or terms the strongest few are shown, and the sum of the rest. Padding stands
    in brackets.

    Example:
        >>> import torch
        >>> from convolens.analysis.explanation.unit import explain_unit
        >>> net = torch.nn.Sequential(torch.nn.ReLU())
        >>> print(text_of(explain_unit(net, -torch.ones(1, 1, 2, 2), "0", (0, 0, 1))))
        0, unit (0, 0, 1): input
          depends on rows 0 to 0 and columns 1 to 1 of the image
          -1 × 1 = -1   input (0, 0, 1)
        value              -1
        relu               max(0, -1) = 0
        computed           0 in float64
        network            0, which differs by 0
    """
    return "\n".join(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    yield _title(explanation)
    if explanation.rows and explanation.cols:
        spans = [f"{first} to {last}" for first, last in (explanation.rows, explanation.cols)]
        yield f"  depends on rows {spans[0]} and columns {spans[1]} of the image"
    if not explanation.explained:
        yield from _given(explanation)
        return
    volume = volume_of(explanation)
    if volume is not None and max(len(volume.ys), len(volume.xs)) <= LARGEST_GRID:
        yield from _grids(volume)
    else:
        yield from _list(explanation.terms)
    yield from _arithmetic(explanation)
    for number, child in enumerate(explanation.children, start=1):
        yield ""
        yield f"  {number}. of its strongest terms:"
        yield from ("    " + line for line in _lines(child))


def _title(explanation: Explanation) -> str:
    words = f"{explanation.layer}, unit {_place(explanation.unit)}: {explanation.operation}"
    if explanation.performed_by not in (explanation.layer, explanation.operation):
        words += f" in {explanation.performed_by}"
    return words


def _given(explanation: Explanation) -> Iterator[str]:
    yield f"  {explanation.formula}; its inputs:"
    for given in explanation.inputs:
        size = "×".join(map(str, given.shape)) or "one number"
        at = "" if given.value is None else f"{_number(given.value)} here, "
        ends = f"{_number(given.least)} to {_number(given.greatest)}"
        yield f"    {given.name} ({size}): {at}{ends}"
    yield f"{'network':<18} {_exact(explanation.network)}"


def _grids(volume: Volume) -> Iterator[str]:
    shown = volume.strongest(MOST_CHANNELS)
    sums = volume.sums
    wide = 3 * (CELL * len(volume.xs) + 3) > WIDTH
    for n in shown:
        where = f" of {volume.source}" if volume.source else ""
        yield f"  channel {volume.channels[n]}{where}, products sum to {_number(sums[n])}"
        blocks = [
            _block("value", volume.values[n], volume.padded[n]),
            _block("weight", volume.weights[n], None),
            _block("product", volume.products[n], None),
        ]
        if wide:
            yield from ("    " + line for block in blocks for line in block)
        else:
            yield from ("    " + " | ".join(lines) for lines in zip(*blocks, strict=True))
    rest = len(sums) - len(shown)
    if rest:
        others = float(sums.sum() - sums[shown].sum())
        yield f"  the other {rest} {_plural(rest, 'channel')}: {_number(others)}"


def _block(title: str, grid: Grid, padded: NDArray[np.bool_] | None) -> list[str]:
    lines = [f"{title:^{CELL * grid.shape[1]}}"]
    for y, row in enumerate(grid):
        cells = []
        for x, value in enumerate(row):
            word = "" if np.isnan(value) else _short(float(value))
            cells.append(f"[{word}]" if padded is not None and padded[y, x] else word)
        lines.append("".join(f"{cell:>{CELL}}" for cell in cells))
    return lines


def _list(terms: tuple[Term, ...]) -> Iterator[str]:
    order = sorted(terms, key=lambda term: -abs(term.product))
    for term in order[:MOST_TERMS]:
        if term.product == term.weight * term.value or term.weight == 0:
            words = f"{_number(term.value)} × {_number(term.weight)} = {_number(term.product)}"
        else:
            words = f"{_number(term.value)} gives {_number(term.product)}"
        where = "padding" if not term.source else f"{term.source} {_place(term.unit)}"
        where += ", padding" if term.padded and term.source else ""
        yield f"  {words}   {where}"
    rest = order[MOST_TERMS:]
    if rest:
        others = sum(term.product for term in rest)
        yield f"  the other {len(rest)} {_plural(len(rest), 'term')}: {_number(others)}"


def _arithmetic(explanation: Explanation) -> Iterator[str]:
    yield f"{'sum' if len(explanation.terms) > 1 else 'value':<18} {_exact(explanation.total)}"
    if explanation.bias is not None:
        total = explanation.total + explanation.bias
        yield f"{'bias':<18} + {_exact(explanation.bias)} = {_exact(total)}"
    yield from map(_step, explanation.steps)
    yield f"{'computed':<18} {_exact(explanation.computed)} in float64"
    difference = f"{explanation.difference:.2g}"
    yield f"{'network':<18} {_exact(explanation.network)}, which differs by {difference}"
    for step in explanation.following:
        yield f"then {step.layer}: {step.formula} = {_exact(step.result)}"


def _step(step: Step) -> str:
    return f"{step.name:<18} {step.formula} = {_exact(step.result)}"


def _place(position: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, position))})"


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}"


def _short(value: float) -> str:
    """A number that leaves a space in its cell."""
    words = [f"{value:.{form}}".replace("e-0", "e-").replace("e+0", "e") for form in FORMS]
    return next((word for word in words if len(word) < CELL), words[-1])


def _exact(value: float) -> str:
    return f"{value:.9g}"


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
