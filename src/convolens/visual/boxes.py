"""Boxes on a picture, with their classes and scores; and what a detector missed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.data.placement import VOID
from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.overlay import palette
from convolens.visual.panels import Panel, draw_panels
from convolens.visual.style import INK, PAPER, SMALL_PX, VERMILLION, Colour
from convolens.visual.text import class_labels, measure, write

_LEAST_PX, _MOST_PX = 640, 1280
_TAG_PX = 16
_TAG_HEIGHT_PX = 22
_PAD_PX = 4
_LINE_PX = 3
_CROWD, _CROWD_LINE_PX = 60, 2
_MOST_COVERED = 0.15  # of a picture by names, so that a crowd can still be seen
_PALE: Colour = (170, 170, 170)

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
Flags = NDArray[np.bool_]
Tag = tuple[int, int, int, int]


def class_colour(label: int) -> Colour:
    """The colour of a class of boxes, the same in every Figure.

    Example:
        >>> class_colour(0), class_colour(1)
        ((0, 114, 178), (230, 159, 0))
    """
    red, green, blue = palette(VOID + 1)[label % (VOID + 1)].tolist()
    return red, green, blue


def draw_boxes(
    pixels: Pixels,
    boxes: Floats,
    labels: Labels,
    class_names: Sequence[str],
    scores: Floats | None = None,
) -> Figure:
    """Draws boxes in the colours of their classes, with names and scores where there is room.

    Names stand above their boxes, inside or below; one that would hide another is left out, the
    lowest score first, as are those that would hide too much of the picture; a legend tells the
    colours. Small pictures are enlarged pixel by pixel, those of more than 1,280 px reduced.

    Args:
        pixels: uint8, grey or RGB.
        boxes: xyxy [px].
        labels: places in `class_names`; those below 0 are not drawn.
        scores: 0 to 1.
    Shape: pixels (C, H, W), boxes (M, 4), labels (M,), scores (M,) -> pixels (H', W', 3)
    Raises:
        ShapeError: when the numbers are not of these shapes, or a label has no class name.
    """
    _check(pixels, boxes, labels, class_names, scores)
    drawn = labels >= 0
    boxes, labels = boxes[drawn], labels[drawn]
    scores = None if scores is None else scores[drawn]
    names = class_labels(class_names)
    picture, scale = _sized(pixels)
    colours = [class_colour(int(label)) for label in labels]
    tags = [names[label] for label in labels]
    if scores is not None:
        tags = [f"{tag} {score:.2f}" for tag, score in zip(tags, scores, strict=True)]
    order = np.arange(len(boxes)) if scores is None else np.argsort(-scores, kind="stable")
    line_px = _LINE_PX if len(boxes) <= _CROWD else _CROWD_LINE_PX
    image = _with_boxes(picture, boxes * scale, colours, tags, order.tolist(), line_px)
    counts = {int(label): int((labels == label).sum()) for label in np.unique(labels)}
    words = ", ".join(f"{count} {names[label]}" for label, count in counts.items())
    total = len(boxes)
    return Figure(
        name="boxes",
        caption=f"{total} box{'es' if total != 1 else ''}: {words}." if total else "No boxes.",
        pixels=_with_legend(image, [(names[label], class_colour(label)) for label in counts]),
    )


def draw_misses(
    pixels: Pixels,
    true_boxes: Floats,
    true_labels: Labels,
    boxes: Floats,
    labels: Labels,
    scores: Floats,
    class_names: Sequence[str],
    *,
    missed: Flags,
    wrong: Flags,
) -> Figure:
    """Draws the truth on the left and what was found on the right, with what is wrong standing out.

    Objects that were missed, and boxes that found none, are drawn in the colours of their classes,
    with names; all others are pale.

    Args:
        pixels: uint8, grey or RGB.
        missed: which objects stand out on the left.
        wrong: which boxes stand out on the right.
    Shape: pixels (C, H, W), true_boxes (M, 4), true_labels and missed (M,), boxes (K, 4), labels,
        scores and wrong (K,) -> pixels (H', W', 3)
    Raises:
        ShapeError: as `draw_boxes`.
    """
    _check(pixels, true_boxes, true_labels, class_names, None)
    _check(pixels, boxes, labels, class_names, scores)
    names = class_labels(class_names)
    picture, scale = _sized(pixels)
    true_names = [names[label] for label in true_labels]
    words = [f"{names[label]} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    num_missed, num_wrong = int(missed.sum()), int(wrong.sum())
    panels = [
        Panel(
            title=f"truth: {num_missed} of {len(missed)} missed",
            pixels=_stressed(picture, true_boxes * scale, true_labels, missed, true_names),
        ),
        Panel(
            title=f"found: {num_wrong} of {len(wrong)} wrong",
            pixels=_stressed(picture, boxes * scale, labels, wrong, words),
        ),
    ]
    return Figure(
        name="misses",
        caption=(
            f"On the left the truth, on the right what was found. In colour are {num_missed} "
            f"missed and {num_wrong} wrong, pale all others."
        ),
        pixels=draw_panels(panels, 2),
    )


def outlined(pixels: Pixels, box: Sequence[float]) -> Pixels:
    """A picture in its own pixels with the outline of one box, for figures that enlarge it.

    Shape: pixels (1 or 3, H, W), box (4,) -> (3, H, W)
    """
    rgb = np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))
    image = Image.fromarray(rgb)
    thin = 1 if max(image.size) < _LEAST_PX // 3 else 2
    drawn = _with_boxes(image, np.array([box], np.float64), [VERMILLION], None, [0], thin)
    return np.ascontiguousarray(np.asarray(drawn).transpose(2, 0, 1))


def _stressed(
    picture: Image.Image,
    boxes: Floats,
    labels: Labels,
    stands_out: Flags,
    tags: list[str],
) -> Pixels:
    pale = np.flatnonzero(~stands_out).tolist()
    image = _with_boxes(picture, boxes, [_PALE] * len(boxes), None, pale, 2)
    colours = [class_colour(int(label)) for label in labels]
    loud = np.flatnonzero(stands_out).tolist()
    return np.asarray(_with_boxes(image, boxes, colours, tags, loud, _LINE_PX + 1))


def _with_boxes(
    picture: Image.Image,
    boxes: Floats,
    colours: Sequence[Colour],
    tags: Sequence[str] | None,
    order: Sequence[int],
    line_px: int,
) -> Image.Image:
    """A copy with these boxes, the first of the order on top and named first."""
    image = picture.copy()
    draw = ImageDraw.Draw(image)
    w, h = image.size
    finite = np.nan_to_num(boxes, nan=0.0, posinf=w, neginf=0.0)
    corners = np.rint(finite.clip(0, [w, h, w, h])).astype(int)
    for place in reversed(order):
        x0, y0, x1, y1 = corners[place].tolist()
        right, bottom = max(x0, min(x1, w) - 1), max(y0, min(y1, h) - 1)
        draw.rectangle((x0, y0, right, bottom), outline=colours[place], width=line_px)
    taken: list[Tag] = []
    for place in order if tags is not None else ():
        covered = sum((t[2] - t[0]) * (t[3] - t[1]) for t in taken)
        if covered > _MOST_COVERED * w * h:
            break
        text = "" if tags is None else tags[place]
        spot = _free_spot(corners[place].tolist(), int(measure(text, _TAG_PX)), (w, h), taken)
        if spot is not None:
            taken.append(spot)
            draw.rectangle((spot[0], spot[1], spot[2] - 1, spot[3] - 1), fill=colours[place])
            at = (spot[0] + _PAD_PX, (spot[1] + spot[3]) / 2)
            write(image, at, text, size=_TAG_PX, colour=_on(colours[place]))
    return image


def _free_spot(
    box: Sequence[int], text_px: int, size: tuple[int, int], taken: Sequence[Tag]
) -> Tag | None:
    """Where a name of this width hides none of the others: above the box, inside, or below."""
    x0, y0, _, y1 = box
    width, height = text_px + 2 * _PAD_PX, _TAG_HEIGHT_PX
    left = max(0, min(x0, size[0] - width))
    for top in (y0 - height, y0, y1, y1 - height):
        spot = (left, top, left + width, top + height)
        inside = top >= 0 and spot[3] <= size[1]
        free = all(
            spot[2] <= t[0] or t[2] <= spot[0] or spot[3] <= t[1] or t[3] <= spot[1] for t in taken
        )
        if inside and free:
            return spot
    return None


def _on(ground: Colour) -> Colour:
    """Dark letters on a light ground, white ones on a dark."""
    red, green, blue = ground
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def _sized(pixels: Pixels) -> tuple[Image.Image, float]:
    """The picture in RGB, at 640 to 1,280 px where its own size allows, and by how much it grew."""
    rgb = np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))
    image = Image.fromarray(rgb)
    longer = max(image.size)
    scale = _MOST_PX / longer if longer > _MOST_PX else max(1, round(_LEAST_PX / longer))
    kind = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, kind), scale


def _with_legend(image: Image.Image, entries: Sequence[tuple[str, Colour]]) -> Pixels:
    """The picture with the colours of its classes below."""
    row, square = 34, 18
    places, x, y = [], 10, 0
    for name, _ in entries:
        wide = square + 8 + int(measure(name, SMALL_PX)) + 24
        if x + wide > image.width and x > 10:
            x, y = 10, y + row
        places.append((x, y))
        x += wide
    height = image.height + (y + row if entries else 0)
    whole = Image.new("RGB", (image.width, height), PAPER)
    whole.paste(image, (0, 0))
    draw = ImageDraw.Draw(whole)
    for (name, colour), (left, down) in zip(entries, places, strict=True):
        middle = image.height + down + row // 2
        draw.rectangle((left, middle - square // 2, left + square, middle + square // 2), colour)
        write(whole, (left + square + 8, middle), name, size=SMALL_PX)
    return np.asarray(whole)


def _check(
    pixels: Pixels,
    boxes: Floats,
    labels: Labels,
    class_names: Sequence[str],
    scores: Floats | None,
) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ShapeError(
            "pixels must be uint8 of shape (C, H, W) with C 1 or 3, "
            f"received {pixels.dtype} of shape {pixels.shape}"
        )
    if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != (len(boxes),):
        raise ShapeError(
            "boxes must be of shape (M, 4) and labels of shape (M,), "
            f"received {boxes.shape} and {labels.shape}"
        )
    if scores is not None and scores.shape != labels.shape:
        raise ShapeError(f"scores must be of shape {labels.shape}, received {scores.shape}")
    if labels.size and labels.max() >= len(class_names):
        raise ShapeError(
            f"a label must be below {len(class_names)}, the number of class names, "
            f"received {labels.max()}"
        )
