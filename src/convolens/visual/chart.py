"""Line charts: panels side by side, drawn three times as large and reduced, so lines are smooth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.visual.axis import Axis
from convolens.visual.figure import Pixels
from convolens.visual.style import (
    BODY_PX,
    FRAME,
    GRID,
    INK,
    MARGIN_PX,
    PAPER,
    SMALL_PX,
    SOFT,
    TITLE_PX,
    Colour,
)
from convolens.visual.text import measure, write

_OVERSAMPLING = 3
_LINE_PX = 4.0
_DOT_PX = 7.0
_MOST_DOTS = 30
_HEADING_PX = 56  # room for the heading above all panels
_TITLE_ROW_PX = 60  # room for a panel's title and legend above its frame
_FOOT_PX = 76  # room for tick labels and the axis' name below the frame
_TICK_GAP_PX = 12


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points joined in order; where y is not finite the line is broken.

    Args:
        label: its name in the legend.
        x, y: (n,) each.
    """

    label: str
    colour: Colour
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Args:
        width_px: of the frame, without its labels.
        x_name: what the horizontal axis counts.
        legend: whether the lines are named.
        rule: a value of x at which a dashed upright line stands.
        ring: a point (x, y) that is circled.
    """

    title: str
    width_px: int
    x: Axis
    y: Axis
    x_name: str
    lines: Sequence[Line]
    legend: bool = True
    rule: float | None = None
    ring: tuple[float, float] | None = None


class Frame(NamedTuple):
    """Where a panel's axes lie in the picture [px]."""

    left: int
    top: int
    width: int
    height: int

    def place(self, panel: Panel, x: float, y: float) -> tuple[float, float]:
        """The pixel (across, down) at which a value of the panel lies."""
        return (
            self.left + self.width * panel.x.fraction(x),
            self.top + self.height * (1.0 - panel.y.fraction(y)),
        )


def draw_chart(panels: Sequence[Panel], heading: str, height_px: int = 360) -> Pixels:
    """Draws panels side by side under one heading.

    Args:
        height_px: of the panels' frames, without titles and labels.
    Shape: -> (H, W, 3)
    """
    places = frames(panels, height_px)
    width = places[-1].left + places[-1].width + MARGIN_PX
    height = places[-1].top + height_px + _FOOT_PX + MARGIN_PX // 2
    big = Image.new("RGB", (width * _OVERSAMPLING, height * _OVERSAMPLING), PAPER)
    pen = _Pen(ImageDraw.Draw(big))
    for panel, frame in zip(panels, places, strict=True):
        _draw_shapes(pen, panel, frame)
    image = big.reduce(_OVERSAMPLING)
    write(image, (MARGIN_PX, MARGIN_PX), heading, size=BODY_PX, colour=SOFT)
    for panel, frame in zip(panels, places, strict=True):
        _write_words(image, panel, frame)
    return np.asarray(image)


def frames(panels: Sequence[Panel], height_px: int) -> list[Frame]:
    """Where each panel's frame lies, with room at its left for the labels of its ticks."""
    places = []
    right = 0
    for panel in panels:
        widest = max((measure(label, SMALL_PX) for _, label in panel.y.ticks()), default=0.0)
        left = right + MARGIN_PX + int(widest) + _TICK_GAP_PX
        top = MARGIN_PX // 2 + _HEADING_PX + _TITLE_ROW_PX
        places.append(Frame(left, top, panel.width_px, height_px))
        right = left + panel.width_px
    return places


@dataclass(frozen=True)
class _Pen:
    """Draws at the enlarged scale, in the coordinates of the final picture."""

    draw: ImageDraw.ImageDraw

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        enlarged = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points]
        self.draw.line(enlarged, fill=colour, width=round(width * _OVERSAMPLING), joint="curve")

    def dot(self, centre: tuple[float, float], radius: float, fill: Colour) -> None:
        x, y, r = (v * _OVERSAMPLING for v in (*centre, radius))
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def ring(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        x, y, r = (v * _OVERSAMPLING for v in (*centre, radius))
        self.draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=3 * _OVERSAMPLING)


def _draw_shapes(pen: _Pen, panel: Panel, frame: Frame) -> None:
    right, bottom = frame.left + frame.width, frame.top + frame.height
    for value, _ in panel.y.ticks():
        _, y = frame.place(panel, panel.x.low, value)
        pen.line([(frame.left, y), (right, y)], GRID, 2)
    for value, _ in panel.x.ticks():
        x, _ = frame.place(panel, value, panel.y.low)
        pen.line([(x, bottom), (x, bottom + 6)], FRAME, 2)
    pen.line([(frame.left, bottom), (right, bottom)], FRAME, 2)
    if panel.rule is not None:
        x, _ = frame.place(panel, panel.rule, panel.y.low)
        for y in range(frame.top, bottom, 14):
            pen.line([(x, y), (x, min(y + 8, bottom))], FRAME, 2)
    for line in panel.lines:
        _draw_line(pen, panel, frame, line)
    if panel.ring is not None:
        pen.ring(frame.place(panel, *panel.ring), 2.0 * _DOT_PX, INK)
    if panel.legend:
        y = frame.top - _TITLE_ROW_PX / 2
        for line, x, _ in _legend(panel, frame):
            pen.line([(x, y), (x + 36, y)], line.colour, _LINE_PX)
            pen.dot((x + 18, y), _DOT_PX, line.colour)


def _draw_line(pen: _Pen, panel: Panel, frame: Frame, line: Line) -> None:
    pieces = list(_unbroken(line))
    for piece in pieces:
        points = [frame.place(panel, x, y) for x, y in piece]
        if len(points) > 1:
            pen.line(points, line.colour, _LINE_PX)
        for end in (points[0], points[-1]):
            pen.dot(end, _LINE_PX / 2, line.colour)
        if len(points) == 1 or line.x.size <= _MOST_DOTS:
            for point in points:
                pen.dot(point, _DOT_PX, line.colour)


def _unbroken(line: Line) -> Iterator[list[tuple[float, float]]]:
    """The runs of finite points."""
    finite = np.isfinite(line.x) & np.isfinite(line.y)
    gaps = [-1, *np.flatnonzero(~finite).tolist(), line.x.size]
    for before, after in pairwise(gaps):
        if after - before > 1:
            part = slice(before + 1, after)
            yield list(zip(line.x[part].tolist(), line.y[part].tolist(), strict=True))


def _legend(panel: Panel, frame: Frame) -> Iterator[tuple[Line, float, float]]:
    """Each line with the left ends of its sample and of its name; flush right above the frame."""
    x = float(frame.left + frame.width)
    for line in reversed(panel.lines):
        x -= measure(line.label, SMALL_PX)
        yield line, x - 46, x
        x -= 46 + 28


def _write_words(image: Image.Image, panel: Panel, frame: Frame) -> None:
    middle = frame.top - _TITLE_ROW_PX / 2
    bottom = frame.top + frame.height
    write(image, (frame.left, middle), panel.title, size=TITLE_PX)
    if panel.legend:
        for line, _, x in _legend(panel, frame):
            write(image, (x, middle), line.label, size=SMALL_PX)
    for value, label in panel.y.ticks():
        _, y = frame.place(panel, panel.x.low, value)
        at = (frame.left - _TICK_GAP_PX, y)
        write(image, at, label, size=SMALL_PX, colour=SOFT, anchor="r")
    for value, label in panel.x.ticks():
        x, _ = frame.place(panel, value, panel.y.low)
        write(image, (x, bottom + 22), label, size=SMALL_PX, colour=SOFT, anchor="m")
    centre = frame.left + frame.width / 2
    write(image, (centre, bottom + 54), panel.x_name, size=SMALL_PX, colour=SOFT, anchor="m")
