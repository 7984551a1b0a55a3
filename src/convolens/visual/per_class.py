"""How many pictures of each class are right."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import BLUE, BODY_PX, GRID, MARGIN_PX, PAPER, SMALL_PX, SOFT
from convolens.visual.text import class_labels, measure, shorten, write

MOST_CLASSES = 50
_BAR_PX = 26
_ROW_PX = 42
_WIDTH_PX = 520
_LABEL_PX = 240
_HEADING_PX = 44


def per_class(matrix: NDArray[np.integer], class_names: Sequence[str]) -> Figure:
    """Draws the accuracy of each class as a bar, the least at the top; a line marks the mean.

    Of more than 50 classes the 50 of least accuracy are drawn.

    Args:
        matrix: pictures by true class (row) and predicted class (column).
        class_names: one for each.
    Shape: matrix (K, K) -> pixels (H, W, 3)
    Raises:
        ShapeError: when the matrix is not square, or has another number of classes.
    Example:
        >>> per_class(np.array([[9, 1], [3, 7]]), ["cat", "dog"]).caption[:50]
        'Accuracy of each class; the least is dog, 7 of 10 '
    """
    classes = len(class_names)
    if classes == 0 or matrix.shape != (classes, classes):
        raise ShapeError(
            f"a confusion matrix of {classes} classes must have shape ({classes}, {classes}), "
            f"received {matrix.shape}"
        )
    totals, right = matrix.sum(1), matrix.diagonal()
    seen = np.flatnonzero(totals)
    if not seen.size:
        raise ShapeError("the confusion matrix holds no picture")
    shares = right[seen] / totals[seen]
    order = seen[np.argsort(shares, kind="stable")]
    labels = class_labels(class_names)
    rows = [(labels[c], int(right[c]), int(totals[c])) for c in order[:MOST_CLASSES]]
    mean = float(right.sum() / totals.sum())
    worst, best = order[0], order[-1]
    caption = (
        f"Accuracy of each class; the least is {labels[worst]}, {right[worst]} of {totals[worst]} "
        f"({right[worst] / totals[worst]:.1%}), the greatest {labels[best]} "
        f"({right[best] / totals[best]:.1%}). The line is all classes together, {mean:.1%}."
    )
    if len(seen) < classes:
        caption += f" Without any picture: {classes - len(seen)} of the {classes} classes."
    if len(order) > MOST_CLASSES:
        caption += f" Only the {MOST_CLASSES} of least accuracy are drawn."
    return Figure(name="per-class", caption=caption, pixels=_draw(rows, mean))


def _draw(rows: Sequence[tuple[str, int, int]], mean: float) -> Pixels:
    words = [f"{right / total:.1%}  ({right} of {total})" for _, right, total in rows]
    margin = min(_LABEL_PX, int(max(measure(label, BODY_PX) for label, _, _ in rows)) + 4)
    tail = int(max(measure(word, SMALL_PX) for word in words)) + 16
    left, top = MARGIN_PX + margin + 16, MARGIN_PX + _HEADING_PX
    size = (left + _WIDTH_PX + tail + MARGIN_PX, top + len(rows) * _ROW_PX + MARGIN_PX)
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    write(image, (MARGIN_PX, MARGIN_PX), "accuracy of each class", size=BODY_PX, colour=SOFT)
    for index, ((label, right, total), word) in enumerate(zip(rows, words, strict=True)):
        y = top + index * _ROW_PX
        middle = y + _BAR_PX / 2
        name = shorten(label, BODY_PX, margin)
        write(image, (left - 16, middle), name, size=BODY_PX, anchor="r")
        draw.rectangle((left, y, left + _WIDTH_PX, y + _BAR_PX), fill=GRID)
        end = left + round(_WIDTH_PX * right / total)
        if right:
            draw.rectangle((left, y, end, y + _BAR_PX), fill=BLUE)
        write(image, (left + _WIDTH_PX + 16, middle), word, size=SMALL_PX, colour=SOFT)
    x = left + round(_WIDTH_PX * mean)
    draw.line((x, top - 8, x, top + len(rows) * _ROW_PX - 8), fill=SOFT, width=3)
    return np.asarray(image)
