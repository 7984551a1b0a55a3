"""What a segmentation network does well: its IoU for each class, and pictures beside its maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.overlay import Colours, Labels, class_colours, legend, overlaid
from convolens.visual.panels import Panel, draw_panels, shown
from convolens.visual.style import (
    BODY_PX,
    FRAME,
    GRID,
    MARGIN_PX,
    PAPER,
    SMALL_PX,
    SOFT,
    TITLE_PX,
)
from convolens.visual.text import ARROW, class_labels, measure, shorten, write
from convolens.visual.tiles import enlarge

MOST_CLASSES = 50
MOST_EXAMPLES = 12
_BAR_PX = 26
_ROW_PX = 42
_WIDTH_PX = 520
_LABEL_PX = 240
_HEADING_PX = 44
_PICTURE_PX = 360


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture with its true and its predicted label map.

    Args:
        picture: uint8 (1 or 3, H, W).
        true, predicted: (H, W); 255 is void.
        name: what a person knows the picture by.
        note: what is to be said of it, such as its mean IoU.
    """

    picture: Pixels
    true: Labels
    predicted: Labels
    name: str
    note: str = ""


def class_ious(
    matrix: NDArray[np.integer], class_names: Sequence[str], colours: Colours | None = None
) -> Figure:
    """Draws each class's IoU = right / (true + predicted − right) as a bar, the least at the top.

    A line marks the mean over the classes that occur. Of more than 50 classes the 50 of least IoU
    are drawn.

    Args:
        matrix: pixels by true class (row) and predicted class (column).
        class_names: one for each.
        colours: of the bars; None takes the palette.
    Shape: matrix (K, K) -> pixels (H, W, 3)
    Raises:
        ShapeError: when the matrix is not square, has another number of classes or no pixel.
    Example:
        >>> class_ious(np.array([[6, 2], [1, 3]]), ["road", "car"]).caption[:48]
        'IoU of each class; the least is car, 50.0 %; the'
    """
    classes = len(class_names)
    if classes == 0 or matrix.shape != (classes, classes):
        raise ShapeError(
            f"a confusion matrix of {classes} classes must have shape ({classes}, {classes}), "
            f"received {matrix.shape}"
        )
    right = matrix.diagonal().astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - right
    seen = np.flatnonzero(union)
    if not seen.size:
        raise ShapeError("the confusion matrix holds no pixel")
    iou = right / np.maximum(union, 1)
    order = seen[np.argsort(iou[seen], kind="stable")]
    labels = class_labels(class_names)
    mean = float(iou[seen].mean())
    caption = (
        f"IoU of each class; the least is {labels[order[0]]}, {_percent(iou[order[0]])}; the line "
        f"is their mean, {_percent(mean)}.{_confused(matrix, labels)}"
    )
    if len(seen) < classes:
        caption += f" Neither true nor predicted: {classes - len(seen)} of the {classes} classes."
    if len(order) > MOST_CLASSES:
        caption += f" Only the {MOST_CLASSES} of least IoU are drawn."
    paints = class_colours(class_names) if colours is None else colours
    drawn = order[:MOST_CLASSES]
    share = matrix.sum(1) / max(1, matrix.sum())
    rows = [(labels[c], float(iou[c]), float(share[c]), paints[c]) for c in drawn]
    return Figure(name="class-iou", caption=caption, pixels=_bars(rows, mean))


def examples(
    shown_examples: Sequence[Example],
    class_names: Sequence[str],
    colours: Colours | None = None,
    *,
    heading: str = "pictures of least mean IoU",
) -> Figure:
    """Draws pictures beside their true and predicted classes and where these differ, with a legend.

    In the last column a pixel that is right is pale, a wrong one has the colour of its true class,
    and void is black. The first 12 are shown.

    Shape: -> pixels (H, W, 3)
    """
    paints = class_colours(class_names) if colours is None else colours
    panels: list[Panel] = []
    for example in shown_examples[:MOST_EXAMPLES]:
        panels += _panels(example, paints)
    if not panels:
        return _nothing()
    used = sorted(
        {
            int(label)
            for example in shown_examples[:MOST_EXAMPLES]
            for label in (*np.unique(example.true), *np.unique(example.predicted))
            if label < len(paints)
        }
    )
    grid = draw_panels(panels, 4, heading)
    key = legend([class_names[c] for c in used], paints[used], width=grid.shape[1] - 2 * MARGIN_PX)
    canvas = np.full((grid.shape[0] + key.shape[0] + MARGIN_PX, *grid.shape[1:]), PAPER, np.uint8)
    canvas[: len(grid)] = grid
    canvas[len(grid) : len(grid) + len(key), MARGIN_PX : MARGIN_PX + key.shape[1]] = key
    first = shown_examples[0]
    return Figure(
        name="segmentation",
        caption=f"{heading[:1].upper()}{heading[1:]}: the first is {first.name}"
        f"{', ' + first.note if first.note else ''}. Errors have the colour of the true class.",
        pixels=canvas,
    )


def _panels(example: Example, colours: Colours) -> list[Panel]:
    picture, true, predicted = example.picture, example.true, example.predicted
    grey = picture.mean(axis=0, keepdims=True)
    pale = np.rint(255 - (255 - grey) * 0.35).astype(np.uint8)
    wrong = np.where((true != predicted) & (true != 255), true, 255)
    errors = overlaid(pale, wrong, colours, strength=1.0)
    errors[true == 255] = 0
    counted = true != 255
    right = float((true == predicted)[counted].mean()) if counted.any() else 0.0
    truth = overlaid(picture, true, colours)
    found = overlaid(picture, predicted, colours)
    return [
        Panel(title=example.name, pixels=shown(picture, _PICTURE_PX), note=example.note),
        Panel(title="true", pixels=_large(truth)),
        Panel(title="predicted", pixels=_large(found)),
        Panel(title="errors", pixels=_large(errors), note=f"{_percent(right)} of pixels right"),
    ]


def _large(tile: Pixels) -> Pixels:
    large: Pixels = enlarge(tile[None], max(1, _PICTURE_PX // max(tile.shape[:2])))[0]
    return large


def _confused(matrix: NDArray[np.integer], labels: Sequence[str]) -> str:
    """The pair that is most often taken for one another, as a share of the true class's pixels."""
    wrong = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(wrong, 0)
    true, predicted = divmod(int(wrong.argmax()), len(wrong))
    if not wrong[true, predicted]:
        return ""
    share = _percent(float(wrong[true, predicted]))
    return (
        f" Most often mistaken: {labels[true]} {ARROW} {labels[predicted]}, {share} of its pixels."
    )


def _bars(rows: Sequence[tuple[str, float, float, NDArray[np.uint8]]], mean: float) -> Pixels:
    words = [f"{_percent(iou)}  ({_percent(share)} of pixels)" for _, iou, share, _ in rows]
    margin = min(_LABEL_PX, int(max(measure(label, BODY_PX) for label, *_ in rows)) + 4)
    tail = int(max(measure(word, SMALL_PX) for word in words)) + 16
    left, top = MARGIN_PX + margin + 16, MARGIN_PX + _HEADING_PX
    size = (left + _WIDTH_PX + tail + MARGIN_PX, top + len(rows) * _ROW_PX + MARGIN_PX)
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    write(image, (MARGIN_PX, MARGIN_PX), "IoU of each class", size=BODY_PX, colour=SOFT)
    for index, ((label, iou, _, colour), word) in enumerate(zip(rows, words, strict=True)):
        y = top + index * _ROW_PX
        middle = y + _BAR_PX / 2
        name = shorten(label, BODY_PX, margin)
        write(image, (left - 16, middle), name, size=BODY_PX, anchor="r")
        draw.rectangle((left, y, left + _WIDTH_PX, y + _BAR_PX), fill=GRID)
        if iou > 0:
            end = left + max(1, round(_WIDTH_PX * iou))
            paint = tuple(colour.tolist())
            draw.rectangle((left, y, end, y + _BAR_PX), fill=paint, outline=FRAME)
        write(image, (left + _WIDTH_PX + 16, middle), word, size=SMALL_PX, colour=SOFT)
    x = left + round(_WIDTH_PX * mean)
    draw.line((x, top - 8, x, top + len(rows) * _ROW_PX - 8), fill=SOFT, width=3)
    return np.asarray(image)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _nothing() -> Figure:
    image = Image.new("RGB", (640, 160), PAPER)
    write(image, (320, 80), "no pictures", size=TITLE_PX, colour=SOFT, anchor="m")
    return Figure(name="segmentation", caption="There are no pictures.", pixels=np.asarray(image))
