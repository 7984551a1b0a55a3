"""The eight outlines that `shapes` draws, as formulas: distance, area and landmarks.

Each lives in its own frame: the unit circle encloses it, u runs to the right and v downwards.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Point = tuple[float, float]

_SQUARE = math.sqrt(0.5)  # half a side
_CROSS = (3 / math.sqrt(10), 1 / math.sqrt(10))  # half the length and half the width of an arm
_RING = 0.55  # radius of the hole
_HEART = math.sqrt(0.5)  # half the diagonal of the square between the two lobes
_ARROW = (0.75, -0.05, 0.25, 0.9)  # half the head's width, its base, half the shaft's width, tail
_STAR = math.cos(math.radians(72))  # from the centre to each of the five lines


@dataclass(frozen=True, kw_only=True)
class Outline:
    """One kind of figure.

    Args:
        name: the class's name.
        distance: of points (u, v) from the outline, negative inside; exact near straight edges
            and arcs, which is where it decides how smooth an edge looks.
        area: of the inside; the unit square's is 1.
        points: five landmarks (u, v): the centre, then four on the outline, clockwise from its top.
        tilt_degrees: how far it may be turned to either side so that its landmarks cannot be
            mistaken for one another; 0 where a turn cannot be seen.
    """

    name: str
    distance: Callable[[Plane, Plane], Plane]
    area: float
    points: tuple[Point, Point, Point, Point, Point]
    tilt_degrees: float


def _circle(u: Plane, v: Plane) -> Plane:
    return np.sqrt(u * u + v * v) - np.float32(1)


def _ring(u: Plane, v: Plane) -> Plane:
    middle, half = (1 + _RING) / 2, (1 - _RING) / 2
    distance: Plane = np.abs(np.sqrt(u * u + v * v) - np.float32(middle)) - np.float32(half)
    return distance


def _square(u: Plane, v: Plane) -> Plane:
    distance: Plane = np.maximum(np.abs(u), np.abs(v)) - np.float32(_SQUARE)
    return distance


def _cross(u: Plane, v: Plane) -> Plane:
    length, width = _CROSS
    u, v = np.abs(u), np.abs(v)
    across, upright = np.maximum(u - length, v - width), np.maximum(u - width, v - length)
    distance: Plane = np.minimum(across, upright)
    return distance


def _triangle(u: Plane, v: Plane) -> Plane:
    slope = math.sqrt(0.75)
    return np.maximum(slope * np.abs(u) - 0.5 * v, v) - np.float32(0.5)


def _star(u: Plane, v: Plane) -> Plane:
    # A pentagram is what lies on the inner side of at least four of its five lines, so the second
    # largest of the five distances decides.
    lines = [
        math.sin(math.radians(degrees)) * u - math.cos(math.radians(degrees)) * v
        for degrees in (0, 72, 144, 216, 288)
    ]
    largest, second = np.maximum(lines[0], lines[1]), np.minimum(lines[0], lines[1])
    for line in lines[2:]:
        second = np.maximum(second, np.minimum(largest, line))
        largest = np.maximum(largest, line)
    return second - np.float32(_STAR)


def _heart(u: Plane, v: Plane) -> Plane:
    # A square standing on its corner and a circle on each of its two upper sides.
    u = np.abs(u)
    square = (u + np.abs(v) - _HEART) * math.sqrt(0.5)
    lobe = np.sqrt((u - _HEART / 2) ** 2 + (v + _HEART / 2) ** 2) - _HEART * math.sqrt(0.5)
    distance: Plane = np.minimum(square, lobe)
    return distance


def _arrow(u: Plane, v: Plane) -> Plane:
    width, base, shaft, tail = _ARROW
    length = math.hypot(width, base + 1)
    u = np.abs(u)
    side = u * ((base + 1) / length) - (v + 1) * (width / length)
    head = np.maximum(side, v - base)
    # The shaft begins inside the head, so that no seam shows between them.
    distance: Plane = np.minimum(head, np.maximum(u - shaft, np.maximum(base - 0.2 - v, v - tail)))
    return distance


_CENTRE = (0.0, 0.0)
_LOBE = _HEART * (0.5 + math.sqrt(0.5))  # how far a lobe of the heart reaches

OUTLINES = (
    Outline(
        name="circle",
        distance=_circle,
        area=math.pi,
        points=(_CENTRE, (0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)),
        tilt_degrees=0,
    ),
    Outline(
        name="square",
        distance=_square,
        area=4 * _SQUARE**2,
        points=(_CENTRE, (0.0, -_SQUARE), (_SQUARE, 0.0), (0.0, _SQUARE), (-_SQUARE, 0.0)),
        tilt_degrees=36,
    ),
    Outline(
        name="triangle",
        distance=_triangle,
        area=0.75 * math.sqrt(3),
        points=(
            _CENTRE,
            (0.0, -1.0),
            (math.sqrt(0.75), 0.5),
            (0.0, 0.5),
            (-math.sqrt(0.75), 0.5),
        ),
        tilt_degrees=48,
    ),
    Outline(
        name="star",
        distance=_star,
        area=5 * _STAR / math.cos(math.radians(36)) * math.sin(math.radians(36)),
        points=(
            _CENTRE,
            (0.0, -1.0),
            (math.cos(math.radians(18)), -_STAR),
            (0.0, _STAR / math.cos(math.radians(36))),
            (-math.cos(math.radians(18)), -_STAR),
        ),
        tilt_degrees=28,
    ),
    Outline(
        name="cross",
        distance=_cross,
        area=8 * _CROSS[0] * _CROSS[1] - 4 * _CROSS[1] ** 2,
        points=(
            _CENTRE,
            (0.0, -_CROSS[0]),
            (_CROSS[0], 0.0),
            (0.0, _CROSS[0]),
            (-_CROSS[0], 0.0),
        ),
        tilt_degrees=36,
    ),
    Outline(
        name="ring",
        distance=_ring,
        area=math.pi * (1 - _RING**2),
        points=(_CENTRE, (0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)),
        tilt_degrees=0,
    ),
    Outline(
        name="heart",
        distance=_heart,
        area=2 * _HEART**2 + math.pi * _HEART**2 / 2,
        points=(
            _CENTRE,
            (0.0, -_HEART),
            (_LOBE, -_HEART / 2),
            (0.0, _HEART),
            (-_LOBE, -_HEART / 2),
        ),
        tilt_degrees=180,
    ),
    Outline(
        name="arrow",
        distance=_arrow,
        area=_ARROW[0] * (1 + _ARROW[1]) + 2 * _ARROW[2] * (_ARROW[3] - _ARROW[1]),
        points=(
            _CENTRE,
            (0.0, -1.0),
            (_ARROW[0], _ARROW[1]),
            (0.0, _ARROW[3]),
            (-_ARROW[0], _ARROW[1]),
        ),
        tilt_degrees=180,
    ),
)
