"""A picture flowing through a network: every volume with a sample of its feature maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2, sqrt
from string import ascii_lowercase
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.layout import (
    ARC_PX,
    GAP_PX,
    LINE_PX,
    Arc,
    Box,
    Layout,
    Volume,
    arrange,
    shape_text,
    wrapped,
)
from convolens.visual.scene import Inset, Rectangle, Scene, Shape, Stroke, Words
from convolens.visual.signed_maps import map_tiles
from convolens.visual.style import BLUE, FRAME, GRID, INK, PAPER, SOFT, Colour
from convolens.visual.text import class_labels, measure, shorten

Maps = NDArray[np.floating]

_DENSITY: Final = 2  # pixels of the drawing for each of the layout's
_LARGEST_PX, _LEAST_PX = 112.0, 40.0  # of a card, in the layout's pixels
_MOST_CARDS = 6
_STEP = (0.2, 0.12)  # by which the next card stands out, of its width and height
_EMBEDDED_PX = 128  # no more of a card is kept, so that a drawing stays small
_CLASSES, _CLASS_PX, _NAME_PX = 5, 26, 150
_LETTERS_PX: Final = 20
_MARGIN_PX = 16.0
_LINE: Colour = (138, 143, 152)
_EDGES: Mapping[str, Colour] = {
    "input": (110, 110, 110),
    "conv": (63, 143, 197),
    "pool": (221, 122, 59),
    "linear": (42, 163, 126),
    "block": (106, 120, 201),
    "join": (181, 143, 196),
    "other": (179, 165, 92),
}


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A drawing of a picture that flows through a network.

    Args:
        scene: the shapes, from which `figure` and `svg` are made.
        caption: what to look for.
    """

    scene: Scene
    caption: str

    @property
    def figure(self) -> Figure:
        return Figure(name="flow", caption=self.caption, pixels=self.scene.pixels())

    @property
    def svg(self) -> str:
        return self.scene.svg(self.caption)


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """What stands in the place of a volume: cards, the first of them at the back."""

    cards: tuple[Pixels, ...]
    size: tuple[int, int]
    edge: Colour

    @property
    def step(self) -> tuple[int, int]:
        return max(9, round(_STEP[0] * self.size[0])), max(6, round(_STEP[1] * self.size[1]))

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height of the whole."""
        behind = len(self.cards) - 1
        return self.size[0] + behind * self.step[0], self.size[1] + behind * self.step[1]


def flow(
    volumes: Sequence[Volume],
    maps: Mapping[str, Maps],
    picture: Pixels,
    *,
    classes: Sequence[tuple[str, float]] = (),
    width_px: float = 1200.0,
) -> Flow:
    """Draws the volumes of a network as stacks of the feature maps that it makes of a picture.

    A stack shows up to six maps of its volume, those that vary most, the first of them in front,
    each on a scale of its own; the more channels, the more cards. A vector is a sheet of cells.

    Args:
        volumes: as `volumes_of` gives them.
        maps: what layers give for the picture, (C, H, W) or (C,), by `Volume.layer`; a volume whose
            maps are missing is an empty card.
        picture: uint8, as the network's format shows it.
        classes: the class names with their probabilities, to be drawn in place of the last vector.
        width_px: volumes that do not fit into this width go on in the next row.
    Shape: picture (1 or 3, H, W)
    Raises:
        ShapeError: when there is no volume.
    """
    if not volumes:
        raise ShapeError("a drawing needs one volume or more, received none")
    plain = [replace(volume, lanes=()) for volume in volumes]
    longest = max((max(v.shape[1:]) for v in plain if len(v.shape) == 3), default=1)
    stacks = [_stack(volume, maps, picture, longest) for volume in plain]
    ends_in_classes = bool(classes) and len(plain[-1].shape) == 1
    boxes = [_box(volume, stack.extent) for volume, stack in zip(plain, stacks, strict=True)]
    top = sorted(classes, key=lambda pair: -pair[1])[:_CLASSES]
    if ends_in_classes:
        boxes[-1] = _box(plain[-1], (_NAME_PX, len(top) * _CLASS_PX))
    layout = arrange(plain, boxes, width=width_px, margin=_MARGIN_PX)
    shapes = [*_links(plain, layout), *_arcs(layout)]
    for place, (stack, box) in enumerate(zip(stacks, layout.boxes, strict=True)):
        axis = layout.rows[box.row].axis
        if ends_in_classes and place == len(stacks) - 1:
            shapes += _bars(top, box, axis)
        else:
            shapes += _cards(stack, box, axis)
        shapes += _texts(box, axis)
    scene = Scene(width=_px(layout.width), height=_px(layout.height), shapes=shapes)
    return Flow(scene=scene, caption=_caption(top if ends_in_classes else ()))


def _caption(classes: Sequence[tuple[str, float]]) -> str:
    words = (
        "The picture flows from left to right. Each stack is a volume, as in the drawing of the "
        "network, and its cards are those of its feature maps that vary most, each on a scale of "
        "its own: vermillion is positive, blue negative. Look for what is kept and what is lost: "
        "edges and colours first, then parts, then places that no longer look like the picture."
    )
    if classes:
        words += f" It ends in {classes[0][0]}, {classes[0][1]:.1%}."
    return words


def _px(length: float) -> int:
    return round(_DENSITY * length)


def _stack(volume: Volume, maps: Mapping[str, Maps], picture: Pixels, longest: int) -> _Stack:
    """The cards of a volume, reduced to what is worth keeping."""
    edge = _EDGES[volume.role]
    if volume.role == "input" and volume.shape == picture.shape:
        rgb = np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)
        return _Stack(
            cards=(_reduced(rgb),), size=_card_size(picture.shape[1:], longest), edge=edge
        )
    values = maps.get(volume.layer)
    if values is None or values.shape != volume.shape or values.size == 0:
        sides = volume.shape[1:] if len(volume.shape) == 3 else (1, 1)
        blank: Pixels = np.full((1, 1, 3), GRID, np.uint8)
        return _Stack(cards=(blank,), size=_card_size(sides, longest), edge=edge)
    if values.size == len(values):
        values = values.reshape(-1)
        cells = _cells(values)
        size = (max(12, 7 * cells.shape[1]), 7 * cells.shape[0])
        shrink = min(1.0, _LARGEST_PX / max(size))
        size = (max(12, round(size[0] * shrink)), max(12, round(size[1] * shrink)))
        return _Stack(cards=(map_tiles(cells[None], _limit(values))[0],), size=size, edge=edge)
    volume_maps = values if values.ndim == 3 else values.reshape(1, len(values), -1)
    cards = tuple(
        _reduced(map_tiles(one[None], _limit(one))[0]) for one in reversed(_sample(volume_maps))
    )
    return _Stack(cards=cards, size=_card_size(volume_maps.shape[1:], longest), edge=edge)


def _sample(maps: Maps) -> list[Maps]:
    """The maps that vary most, the more the more channels there are."""
    count = min(len(maps), _MOST_CARDS, round(1.5 + log2(len(maps)) / 2))
    spread = np.nan_to_num(maps.reshape(len(maps), -1).astype(np.float64)).std(1)
    order = np.argsort(-spread, kind="stable")[:count]
    return [maps[index] for index in order]


def _limit(values: Maps) -> float:
    """The end of a map's scale: a little less than its greatest |v|, which may be a lone peak."""
    sizes = np.abs(values[np.isfinite(values)], dtype=np.float64)
    return float(np.quantile(sizes, 0.995) or sizes.max()) or 1.0 if sizes.size else 1.0


def _cells(values: Maps) -> Maps:
    """A vector as a sheet, column by column; what is left of the last column is 0."""
    rows = len(values) if len(values) <= 16 else max(16, round(sqrt(len(values) * 3)))
    rows = min(rows, 96)
    columns = -(-len(values) // rows)
    sheet = np.zeros(rows * columns, np.float64)
    sheet[: len(values)] = values
    return sheet.reshape(columns, rows).T


def _card_size(sides: Sequence[int], longest: int) -> tuple[int, int]:
    """Width and height of a map's card: the smaller the map, the smaller, but never tiny."""
    height, width = sides[0], sides[1]
    longer = max(_LEAST_PX, _LARGEST_PX * (max(height, width) / longest) ** 0.4)
    factor = longer / max(height, width)
    return max(10, round(width * factor)), max(10, round(height * factor))


def _reduced(card: Pixels) -> Pixels:
    longer = max(card.shape[:2])
    if longer <= _EMBEDDED_PX:
        return card
    size = [max(1, round(side * _EMBEDDED_PX / longer)) for side in card.shape[1::-1]]
    image = Image.fromarray(np.ascontiguousarray(card))
    return np.asarray(image.resize((size[0], size[1]), Image.Resampling.BOX))


def _box(volume: Volume, extent: tuple[int, int]) -> Box:
    times = f" ×{volume.times}" if volume.times > 1 else ""
    return Box(
        thickness=extent[0],
        height=extent[1],
        slant=0.0,
        above=wrapped(volume.label + times),
        below=shape_text(volume.shape),
        lanes_width=0.0,
    )


def _cards(stack: _Stack, box: Box, axis: float) -> list[Shape]:
    """The cards from the last to the first, each further down and to the left."""
    shapes: list[Shape] = []
    (width, height), (across, down) = stack.size, stack.step
    top = axis - box.height / 2
    for number, card in enumerate(stack.cards):
        behind = len(stack.cards) - 1 - number
        left, upper = _px(box.x + behind * across), _px(top + number * down)
        size = (_px(width), _px(height))
        shapes.append(
            Rectangle(
                left=left - 4, top=upper - 4, width=size[0] + 8, height=size[1] + 8, fill=PAPER
            )
        )
        shapes.append(Inset(left=left, top=upper, pixels=card, size=size))
        shapes.append(
            Rectangle(
                left=left - 2,
                top=upper - 2,
                width=size[0] + 4,
                height=size[1] + 4,
                outline=stack.edge,
            )
        )
    return shapes


def _bars(classes: Sequence[tuple[str, float]], box: Box, axis: float) -> list[Shape]:
    """The most probable classes, each with a bar as long as it is probable."""
    shapes: list[Shape] = []
    labels = class_labels([name for name, _ in classes])
    top = axis - box.height / 2
    for number, (label, (_, probability)) in enumerate(zip(labels, classes, strict=True)):
        y = top + number * _CLASS_PX
        left, width = _px(box.x), _px(box.thickness)
        percent = f"{probability:.1%}"
        room = width - measure(percent, _LETTERS_PX) - 16
        at = _px(y + 7)
        name = shorten(label, _LETTERS_PX, room)
        shapes += [
            Words(at=(left, at), text=name, size=_LETTERS_PX, colour=INK if number == 0 else SOFT),
            Words(at=(left + width, at), text=percent, size=_LETTERS_PX, colour=SOFT, anchor="r"),
            Rectangle(left=left, top=_px(y + 16), width=width, height=_px(4), fill=GRID),
        ]
        if long := round(width * probability):
            colour = BLUE if number == 0 else FRAME
            shapes.append(
                Rectangle(left=left, top=_px(y + 16), width=long, height=_px(4), fill=colour)
            )
    return shapes


def _texts(box: Box, axis: float) -> list[Shape]:
    x = _px(box.x + box.thickness / 2)
    top = axis - box.height / 2 - 10
    texts: list[Shape] = [
        Words(
            at=(x, _px(top - LINE_PX * (len(box.above) - 1 - number))),
            text=line,
            size=_LETTERS_PX,
            anchor="m",
        )
        for number, line in enumerate(box.above)
    ]
    below = _px(axis + box.height / 2 + LINE_PX - 2)
    return [*texts, Words(at=(x, below), text=box.below, size=_LETTERS_PX, colour=SOFT, anchor="m")]


def _links(volumes: Sequence[Volume], layout: Layout) -> list[Shape]:
    """Arrows from each volume to the next, where the next one reads it."""
    shapes: list[Shape] = []
    for place, volume in enumerate(volumes):
        if place == 0 or (volume.reads is not None and place - 1 not in volume.reads):
            continue
        before, box = layout.boxes[place - 1], layout.boxes[place]
        begin = before.x + before.thickness + 4
        if before.row == box.row:
            shapes += _arrow(begin, box.x - 5, layout.rows[box.row].axis)
        else:
            shapes += _arrow(begin, before.right + GAP_PX - 6, layout.rows[before.row].axis)
            shapes += _arrow(box.left - GAP_PX + 4, box.x - 5, layout.rows[box.row].axis)
    return shapes


def _arcs(layout: Layout) -> list[Shape]:
    """What is read again later: a line above its row, or a letter at both ends between two rows."""
    shapes: list[Shape] = []
    num_letters = 0
    for arc in layout.arcs:
        source, target = layout.boxes[arc.source], layout.boxes[arc.target]
        begin, end = source.right + GAP_PX / 2 - 4, target.left - GAP_PX / 2 + 2
        if source.row == target.row:
            axis, y = layout.rows[source.row].axis, _height(layout, source, arc)
            shapes += [
                _stroke((begin, axis), (begin, y)),
                _stroke((begin, y), (end, y)),
                _stroke((end, y), (end, axis)),
            ]
        else:
            letter = ascii_lowercase[num_letters % 26]
            num_letters += 1
            for x, box in ((begin, source), (end, target)):
                axis, y = layout.rows[box.row].axis, _height(layout, box, arc)
                name = Words(
                    at=(_px(x), _px(y - 4)),
                    text=letter,
                    size=_LETTERS_PX,
                    colour=SOFT,
                    anchor="m",
                )
                shapes += [_stroke((x, axis), (x, y + 4)), name]
    return shapes


def _height(layout: Layout, box: Box, arc: Arc) -> float:
    return layout.rows[box.row].arcs_bottom - (arc.level + 0.5) * ARC_PX


def _arrow(begin: float, end: float, y: float) -> list[Shape]:
    tip = (end, y)
    return [
        _stroke((begin, y), tip),
        _stroke((end - 5, y - 4), tip),
        _stroke((end - 5, y + 4), tip),
    ]


def _stroke(begin: tuple[float, float], end: tuple[float, float]) -> Stroke:
    ends = ((_px(begin[0]), _px(begin[1])), (_px(end[0]), _px(end[1])))
    return Stroke(begin=ends[0], end=ends[1], colour=_LINE, stroke_px=3)
