"""Which part of a detector made a detection: its cell or its region, and its numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from convolens.analysis.explanation import Step
from convolens.errors import ConfigError, ShapeError
from convolens.visual.layers import layers_of

Box = tuple[float, float, float, float]
Unit = tuple[int, ...]
Numbers = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """What becomes of the numbers that a detector's last layers give.

    Args:
        score: from the logits to the score.
        box: from the numbers of the box to its centre and sides.
        corners: x0, y0, x1, y1 before clipping [px of the network's input].
    """

    score: tuple[Step, ...]
    box: tuple[Step, ...]
    corners: Box


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where on the picture a detector has looked; boxes are in pixels of the network's input.

    Args:
        level: number of the feature map, the finest first.
        stride: from one of its cells to the next [px].
        cell: row and column on it; of the anchor, where there is one; None where regions come
            from elsewhere.
        cell_box: the pixels that the cell stands for.
        anchor: the box from which the proposal was regressed.
        proposal: the region that the head looked at.
        region: first and last row, first and last column of the map that were pooled.
        map_layer: the layer whose feature map was pooled, or that the last layers read.
    """

    level: int | None = None
    stride: float | None = None
    cell: tuple[int, int] | None = None
    cell_box: Box | None = None
    anchor: Box | None = None
    proposal: Box | None = None
    region: tuple[tuple[int, int], tuple[int, int]] | None = None
    map_layer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a detection came about.

    Args:
        net: the detector, asked for the detection's logit alone: (1, C, H, W) -> (1, 1).
        numbers: the layer and unit of every number that the detection is made of, by name.
        main: the numbers that speak for the class, of `numbers`.
        arithmetic: what becomes of these numbers.
        place: where it looked.
    """

    net: nn.Module
    numbers: Mapping[str, tuple[str, Unit]]
    main: tuple[str, ...]
    arithmetic: Callable[[Numbers], Arithmetic]
    place: Place


def chosen_row(rows: Tensor, detection: int) -> Tensor:
    """One of the detections (most, 6), the surest being 0.

    Raises:
        ConfigError: when there are not so many.
    """
    count = int((rows[:, 5] >= 0).sum())
    if not 0 <= detection < count:
        there = f"0 to {count - 1}, the surest first" if count else "none in this picture"
        raise ConfigError(f"there is no detection {detection}: there are {there}")
    return rows[detection]


def source_of(row: Tensor, boxes: Tensor, scores: Tensor) -> int:
    """Which of the candidates is the detection; of several, the first.

    Shape: row (6,), boxes (P, 4) after clipping, scores (P,) of the detection's class
    """
    # Computed a second time on other shapes, a number may differ in its last digit.
    apart = (boxes - row[:4]).abs().amax(dim=1) + (scores - row[4]).abs() * boxes.abs().amax()
    return int(apart.argmin())


def call_name(layer: str, call: int) -> str:
    """The name that the table of layers gives to the n-th call of a layer, from 0."""
    return layer if call == 0 else f"{layer}#{call + 1}"


def map_read_by(layer: str, net: nn.Module, x: Tensor) -> str | None:
    """The layer whose feature map a layer reads first; None where it reads the picture itself."""
    layers = layers_of(net, x)
    row = next(row for row in layers.rows if row.name == layer)
    read = {*layers.trace.operations[row.operations[0]].inputs[:1]}
    while read:
        names = [r.name for r in layers.rows if r.operations and r.value in read and r is not row]
        if names:
            return names[-1]
        makers = [o for o in layers.trace.operations if not read.isdisjoint(o.outputs)]
        read = {value for operation in makers for value in operation.inputs[:1]}
    return None


def as_box(values: Tensor | Sequence[float]) -> Box:
    """Four numbers."""
    x0, y0, x1, y1 = values.tolist() if isinstance(values, Tensor) else values
    return float(x0), float(y0), float(x1), float(y1)


def corners_of(x: float, y: float, width: float, height: float) -> Box:
    """The corners of a box by its centre and sides."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def step(name: str, formula: str, result: float) -> Step:
    """A step after the network's last layer."""
    return Step(name=name, layer="", formula=formula, result=result)


def one_picture(x: Tensor) -> tuple[int, int]:
    """The size of the one picture (1, C, H, W)."""
    if x.dim() != 4 or x.shape[0] != 1:
        raise ShapeError(f"x must be one picture (1, C, H, W), received {tuple(x.shape)}")
    return x.shape[2], x.shape[3]
