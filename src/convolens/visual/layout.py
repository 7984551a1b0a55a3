"""Where the volumes of a drawn network stand: sizes, rows, lanes and arcs, in pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import log2, sqrt
from typing import Final, Literal

Role = Literal["input", "conv", "pool", "linear", "join", "block", "other"]

LETTER_PX: Final = 6.7  # the widest that a letter of 11 px is on average, in common fonts
LINE_PX: Final = 14
GAP_PX: Final = 26
LANE_PX: Final = 24
ARC_PX: Final = 14
SLANT: Final = 0.32  # how far the side of a box goes up and to the right, of its width
TALLEST_PX: Final = 140.0
CHARACTERS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A branch from one volume to the next.

    Args:
        steps: what each of its layers is called; none where the volume passes unchanged.
        times: how many such branches stand side by side.
    """

    steps: tuple[str, ...] = ()
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Volume:
    """What a layer or block gives, as it is to be drawn.

    Args:
        shape: (C, H, W), or (C,) for a vector, without the batch.
        label: what makes it, such as "conv 3×3 /2".
        role: decides the colour.
        times: how many such layers follow one another.
        lanes: branches between the volume before and this one.
        is_dense: whether each lane also reads what the others give.
        reads: places of the volumes that it reads, in the sequence; None for the one before.
        layer: the last layer whose numbers stand in it, as `summarize` names it; "" for none.
    """

    shape: tuple[int, ...]
    label: str = ""
    role: Role = "other"
    times: int = 1
    lanes: tuple[Lane, ...] = ()
    is_dense: bool = False
    reads: tuple[int, ...] | None = None
    layer: str = field(default="", compare=False)


@dataclass(slots=True, kw_only=True)
class Box:
    """A volume with its place: x of its left edge, y of its middle, in its row.

    Args:
        thickness: of the front, by the number of channels.
        height: of the front, by H.
        slant: of the side, to the right and up, by W.
        left: where its slot begins, lanes included.
        right: where its slot ends.
        x: left edge of the front.
        row: of the drawing, from 0.
        above: lines of text above it.
        below: the text under it.
    """

    thickness: float
    height: float
    slant: float
    above: list[str]
    below: str
    lanes_width: float
    left: float = 0.0
    right: float = 0.0
    x: float = 0.0
    row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arc:
    """A connection that is not to the next volume.

    Args:
        source: place of the volume that is read.
        target: place of the volume that reads.
        level: how high it runs above the row, from 0; boxes below it are passed over.
    """

    source: int
    target: int
    level: int


@dataclass(slots=True)
class Row:
    """One line of volumes: what stands in it and how much room it needs.

    Args:
        places: of its volumes.
        top: y of its upper end.
        axis: y of the middle of its boxes.
        arcs_bottom: y below which arcs do not run.
        bottom: y of its lower end.
        num_levels: of arcs.
    """

    places: list[int] = field(default_factory=list)
    top: float = 0.0
    axis: float = 0.0
    arcs_bottom: float = 0.0
    bottom: float = 0.0
    num_levels: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All boxes with their rows and arcs, and the size of the whole [px]."""

    boxes: tuple[Box, ...]
    rows: tuple[Row, ...]
    arcs: tuple[Arc, ...]
    width: float
    height: float


def lay_out(volumes: Sequence[Volume], *, width: float, margin: float) -> Layout:
    """Rows of volumes from left to right, so wide that no text meets another."""
    scale = _scale(volumes)
    boxes = [_box(volume, scale) for volume in volumes]
    return arrange(volumes, boxes, width=width, margin=margin)


def arrange(
    volumes: Sequence[Volume], boxes: Sequence[Box], *, width: float, margin: float
) -> Layout:
    """Gives the boxes of volumes, whose sizes are known, their places."""
    slots = [_slot_width(box) for box in boxes]
    rows = _rows(slots, width - 2 * margin - GAP_PX)
    for number, row in enumerate(rows):
        x = margin + (GAP_PX if number else 0)
        for place in row.places:
            box, slot = boxes[place], slots[place]
            box.left, box.right, box.row = x, x + slot, number
            own = slot - box.lanes_width
            box.x = x + box.lanes_width + (own - box.thickness - box.slant) / 2
            x += slot + GAP_PX
    arcs = _arcs(volumes, boxes)
    top = margin
    for number, row in enumerate(rows):
        levels = [
            arc.level + 1
            for arc in arcs
            if number in (boxes[arc.source].row, boxes[arc.target].row)
        ]
        row.num_levels = max(levels, default=0)
        _stack(row, top, [boxes[p] for p in row.places], [volumes[p] for p in row.places])
        top = row.bottom + LINE_PX
    return Layout(
        boxes=tuple(boxes),
        rows=tuple(rows),
        arcs=tuple(arcs),
        width=max(box.right for box in boxes) + margin + (GAP_PX if len(rows) > 1 else 0),
        height=rows[-1].bottom + margin,
    )


def _rows(slots: Sequence[float], room: float) -> list[Row]:
    """As few rows as the room allows, of lengths as equal as they can be."""
    best = _filled(slots, room)
    low, high = max(slots), room
    while high - low > 1:
        middle = (low + high) / 2
        rows = _filled(slots, middle)
        low, high = (middle, high) if len(rows) > len(best) else (low, middle)
        best = rows if len(rows) == len(best) else best
    return best


def _filled(slots: Sequence[float], room: float) -> list[Row]:
    """Rows that are filled one after the other."""
    rows = [Row()]
    x = 0.0
    for place, slot in enumerate(slots):
        if rows[-1].places and x + slot > room:
            rows.append(Row())
            x = GAP_PX  # for the arrow that comes from the row above
        rows[-1].places.append(place)
        x += slot + GAP_PX
    return rows


def shape_text(shape: Sequence[int]) -> str:
    """The sides of a volume, C first: 96×55×55."""
    return "×".join(map(str, shape)) if len(shape) > 1 else f"{shape[0]:,}" if shape else "1"


def text_width(texts: Iterable[str]) -> float:
    """Room for the longest of some lines [px]."""
    return max((len(text) for text in texts), default=0) * LETTER_PX


def lane_width(volume: Volume) -> float:
    """Room for the branches before a volume [px]; 0 where there are none."""
    if not volume.lanes:
        return 0.0
    return max(sum(step_width(s) + 10 for s in lane_steps(lane)) for lane in volume.lanes) + 44


def lane_steps(lane: Lane) -> tuple[str, ...]:
    """The steps of a lane, how often it is there with the last of them."""
    if lane.times == 1 or not lane.steps:
        return lane.steps
    return (*lane.steps[:-1], f"{lane.steps[-1]} (×{lane.times})")


def step_width(step: str) -> float:
    """Width of the plate of a step [px]."""
    return len(step) * LETTER_PX * 0.92 + 8


def _scale(volumes: Sequence[Volume]) -> float:
    """Shrinks pictures so large that their boxes would not fit."""
    tallest = max(
        (_side(volume.shape[-2]) for volume in volumes if len(volume.shape) > 2), default=1
    )
    return min(1.0, TALLEST_PX / tallest)


def _side(length: int) -> float:
    return 9 + 8.8 * sqrt(length)


def _box(volume: Volume, scale: float) -> Box:
    shape = volume.shape
    if len(shape) > 2:
        thickness = min(4 + 1.1 * sqrt(shape[0]), 60.0)
        height, slant = _side(shape[-2]) * scale, _side(shape[-1]) * scale * SLANT
    elif len(shape) == 2:
        # Tokens or a signal: long in one axis, without a width.
        thickness, slant = 4 + 1.1 * sqrt(min(min(shape), 2000)), 6.0
        height = min(20 + 3 * sqrt(max(shape)), TALLEST_PX)
    else:
        thickness, height, slant = 9.0, 14 + 9 * log2(max(shape[0] if shape else 1, 1)), 0.0
    times = f" ×{volume.times}" if volume.times > 1 else ""
    return Box(
        thickness=thickness,
        height=height,
        slant=slant,
        above=wrapped(volume.label + times),
        below=shape_text(shape),
        lanes_width=lane_width(volume),
    )


def wrapped(label: str) -> list[str]:
    """At most two lines; a longer word loses its end."""
    lines = [""]
    for word in label.split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) > CHARACTERS and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = joined
    kept = lines if len(lines) <= 2 else [lines[0], " ".join(lines[1:])]
    return [line if len(line) <= 22 else f"{line[:21]}…" for line in kept]


def _slot_width(box: Box) -> float:
    own = max(box.thickness + box.slant, text_width([*box.above, box.below]))
    return box.lanes_width + own


def _stack(row: Row, top: float, boxes: Sequence[Box], volumes: Sequence[Volume]) -> None:
    """The heights of a row's zones, from top to bottom: arcs, labels, boxes, volumes."""
    row.top = top
    row.arcs_bottom = top + row.num_levels * ARC_PX
    text = max(len(box.above) for box in boxes) * LINE_PX
    lanes = max(len(volume.lanes) for volume in volumes) * LANE_PX / 2
    up = max(max(box.height / 2 + box.slant for box in boxes), lanes)
    down = max(max(box.height / 2 for box in boxes), lanes)
    row.axis = row.arcs_bottom + text + 8 + up
    row.bottom = row.axis + down + 6 + LINE_PX


def _arcs(volumes: Sequence[Volume], boxes: Sequence[Box]) -> list[Arc]:
    """Connections past other volumes; each as low as those that it crosses let it run."""
    arcs: list[Arc] = []
    pairs = [
        (source, target)
        for target, volume in enumerate(volumes)
        for source in (volume.reads or ())
        if source < target - 1
    ]
    for source, target in sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair)):
        taken = {
            arc.level
            for arc in arcs
            if arc.source < target
            and source < arc.target
            and {boxes[arc.source].row, boxes[arc.target].row}
            & {boxes[source].row, boxes[target].row}
        }
        level = next(n for n in range(len(arcs) + 1) if n not in taken)
        arcs.append(Arc(source=source, target=target, level=level))
    return arcs
