"""One picture of `shapes`: what is placed where, in which colour, and what can be said of it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convolens.data.outlines import OUTLINES
from convolens.data.texture import draw_texture

MOST_FIGURES = 4
# Shares of the picture's shorter side squared, for the largest figure.
_LARGEST_AREA = (0.09, 0.22)
# Every other figure shows at most this share of the pixels that the largest one shows.
MOST_OF_LARGEST = 0.6
# A figure that shows fewer pixels, or less of itself, is not placed.
LEAST_PIXELS = 8
_LEAST_SHARE = 0.01
_LEAST_SHOWN = 0.65
_TRIES = 10
_MUTED = np.float32(0.15)

LARGE, SMALL = 0.12, 0.05  # shares of the picture from which, and below which, the words hold

COLOURS = {
    "red": (214, 42, 42),
    "orange": (243, 142, 28),
    "yellow": (246, 226, 70),
    "green": (48, 150, 62),
    "cyan": (70, 205, 214),
    "blue": (44, 76, 204),
    "purple": (128, 48, 160),
    "pink": (246, 150, 192),
    "white": (238, 238, 238),
    "black": (26, 26, 26),
}
SHADES = {
    "black": (20,),
    "dark grey": (75,),
    "grey": (130,),
    "light grey": (185,),
    "white": (240,),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One drawn picture with all that is known of it; M figures, the largest first.

    Args:
        pixels: uint8 (C, H, W).
        classes: int64 (M,), places in OUTLINES.
        boxes: float32 (M, 4), xyxy around the visible pixels [px].
        instances: uint8 (H, W); 0 where no figure is seen, i + 1 where figure i is.
        keypoints: float32 (M, 5, 3): x, y [px], and 1 where it can be seen.
        caption: one true sentence.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    instances: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    caption: str


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """A figure in its place: where it is, and how much of each pixel of a window it covers."""

    kind: int
    centre: tuple[float, float]  # x, y [px]
    radius: float
    cos: float
    sin: float
    window: tuple[slice, slice]
    coverage: NDArray[np.float32]

    @property
    def inside(self) -> NDArray[np.bool_]:
        return self.coverage >= 0.5


def draw_scene(
    rng: np.random.Generator, kind: int, *, channels: int, size: tuple[int, int]
) -> Scene:
    """Draws one picture whose largest figure is of this kind, with up to three smaller ones.

    Args:
        rng: where the random numbers come from; nothing else decides the picture.
        kind: the place in OUTLINES.
        channels: 1 or 3.
        size: (H, W), each at least 16 [px].
    """
    figures, order, instances = _place(rng, kind, size)
    palette = SHADES if channels == 1 else COLOURS
    names = list(palette)
    names = [names[i] for i in np.argsort(rng.random(len(names)))][: len(figures) + 1]
    ground, *inks = [np.array(palette[name], dtype=np.float32) for name in names]
    depth = 100.0 if channels == 3 else 36.0
    # A little greyer than the figures, so that the texture has room to both sides.
    canvas, shade = draw_texture(rng, ground + (128 - ground) * _MUTED, size, depth=depth)
    jitter = (rng.random((len(figures), channels)) - 0.5).astype(np.float32) * (depth * 0.3)
    for i in order:
        rows, columns = figures[i].window
        ink = (inks[i] + jitter[i])[:, None, None] + shade[rows, columns] * np.float32(depth / 8)
        region = canvas[:, rows, columns]
        region += figures[i].coverage * (ink - region)
    boxes = np.array([_box(instances, i + 1) for i in range(len(figures))], dtype=np.float32)
    return Scene(
        pixels=np.clip(canvas + np.float32(0.5), 0, 255).astype(np.uint8),
        classes=np.array([figure.kind for figure in figures], dtype=np.int64),
        boxes=boxes,
        instances=instances,
        keypoints=_keypoints(figures, order, instances),
        caption=_caption(figures, boxes, instances, ground=names[0], inks=names[1:]),
    )


def _place(
    rng: np.random.Generator, kind: int, size: tuple[int, int]
) -> tuple[list[_Figure], list[int], NDArray[np.uint8]]:
    """The figures, the largest first; the order in which they are painted; who is seen where."""
    draws = rng.random((_TRIES, 6)).tolist()
    wanted = 1 + int(rng.random() * MOST_FIGURES)
    least, most = _LARGEST_AREA
    area = (least + (most - least) * draws[0][1]) * min(size) ** 2
    figures = [_figure(kind, area, draws[0], size)]
    order = [0]
    instances = np.zeros(size, dtype=np.uint8)
    instances[figures[0].window][figures[0].inside] = 1
    for draw in draws[1:]:
        if len(figures) == wanted:
            break
        kind = int(draw[0] * len(OUTLINES))
        candidate = _figure(kind, area * (0.12 + 0.45 * draw[1]), draw, size)
        if any(_too_close(candidate, other) for other in figures):
            continue
        behind = draw[5] < 0.5
        attempt = instances.copy()
        region = attempt[candidate.window]
        region[candidate.inside & (region == 0) if behind else candidate.inside] = len(figures) + 1
        if _shows_enough([*figures, candidate], attempt):
            order = [len(figures), *order] if behind else [*order, len(figures)]
            figures.append(candidate)
            instances = attempt
    return figures, order, instances


def _figure(kind: int, area: float, draw: list[float], size: tuple[int, int]) -> _Figure:
    """A figure of this area, its place and tilt taken from the draws."""
    outline = OUTLINES[kind]
    height, width = size
    radius = math.sqrt(area / outline.area)
    # Centres keep this far from the border, so that at most the figure's rim is cut off.
    margin = 0.85 * radius
    x = margin + draw[2] * (width - 2 * margin)
    y = margin + draw[3] * (height - 2 * margin)
    tilt = math.radians(outline.tilt_degrees * (2 * draw[4] - 1))
    # Rounded, so that the last bit of another machine's sine does not change a picture.
    cos, sin = round(math.cos(tilt), 9), round(math.sin(tilt), 9)
    left, right = max(0, math.floor(x - radius) - 1), min(width, math.ceil(x + radius) + 1)
    top, bottom = max(0, math.floor(y - radius) - 1), min(height, math.ceil(y + radius) + 1)
    across = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)) / np.float32(radius)
    along = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y)) / np.float32(radius)
    u = cos * across + (sin * along)[:, None]
    v = (cos * along)[:, None] - sin * across
    coverage = np.clip(np.float32(0.5) - outline.distance(u, v) * np.float32(radius), 0, 1)
    return _Figure(
        kind=kind,
        centre=(x, y),
        radius=radius,
        cos=cos,
        sin=sin,
        window=(slice(top, bottom), slice(left, right)),
        coverage=coverage,
    )


def _too_close(one: _Figure, other: _Figure) -> bool:
    """A quick look before the pixels are counted: centres deep inside one another."""
    apart = math.dist(one.centre, other.centre)
    return apart < 0.6 * max(one.radius, other.radius)


def _shows_enough(figures: list[_Figure], instances: NDArray[np.uint8]) -> bool:
    """Whether every figure is well seen and the first is clearly the largest."""
    shown = np.bincount(instances.ravel(), minlength=len(figures) + 1)[1:].tolist()
    least = max(LEAST_PIXELS, _LEAST_SHARE * instances.size)
    return max(shown[1:]) <= MOST_OF_LARGEST * shown[0] and all(
        pixels >= max(least, _LEAST_SHOWN * np.count_nonzero(figure.inside))
        for figure, pixels in zip(figures, shown, strict=True)
    )


def _box(instances: NDArray[np.uint8], number: int) -> tuple[int, int, int, int]:
    """xyxy around the pixels of one figure; the second corner lies after the last pixel."""
    seen = instances == number
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _keypoints(
    figures: list[_Figure], order: list[int], instances: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """The landmarks of each figure, and whether each can be seen."""
    height, width = instances.shape
    depth = {0: -1} | {i + 1: place for place, i in enumerate(order)}
    points = np.zeros((len(figures), len(OUTLINES[0].points), 3), dtype=np.float32)
    for i, figure in enumerate(figures):
        for k, (u, v) in enumerate(OUTLINES[figure.kind].points):
            x = figure.centre[0] + figure.radius * (figure.cos * u - figure.sin * v)
            y = figure.centre[1] + figure.radius * (figure.sin * u + figure.cos * v)
            seen = False
            if 0 <= x < width and 0 <= y < height:
                row, column = int(y), int(x)
                seen = depth[int(instances[row, column])] <= depth[i + 1]
                if seen and k > 0 and instances[row, column] != i + 1:
                    # A tip is finer than a pixel; what counts is that its figure is seen there.
                    near = instances[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
                    seen = bool((near == i + 1).any())
            points[i, k] = x, y, seen
    return points


def _caption(
    figures: list[_Figure],
    boxes: NDArray[np.float32],
    instances: NDArray[np.uint8],
    *,
    ground: str,
    inks: list[str],
) -> str:
    """Every figure with its size, colour and class, and where the largest is among the others."""
    shares = (np.bincount(instances.ravel())[1:] / instances.size).tolist()
    nouns = [
        f"a {size_word(share)} {ink} {OUTLINES[figure.kind].name}"
        for figure, ink, share in zip(figures, inks, shares, strict=True)
    ]
    places = [
        f"{side_word(boxes[0], box)} {noun}" for box, noun in zip(boxes[1:], nouns[1:], strict=True)
    ]
    others = " and ".join([", ".join(places[:-1]), places[-1]] if len(places) > 1 else places)
    article = "an" if ground[0] in "aeiou" else "a"
    return " ".join(filter(None, [nouns[0], others, f"on {article} {ground} background"]))


def size_word(share: float) -> str:
    """Of a figure's visible share of the picture."""
    return "large" if share >= LARGE else "small" if share < SMALL else "medium"


def side_word(box: NDArray[np.float32], other: NDArray[np.float32]) -> str:
    """Where the first box's middle lies, seen from the other's, along the longer of both ways."""
    right = float(box[0] + box[2] - other[0] - other[2])
    down = float(box[1] + box[3] - other[1] - other[3])
    if abs(right) > abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"
