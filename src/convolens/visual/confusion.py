"""Which classes a classifier takes for which."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from convolens.errors import DataError, ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import (
    BLUE,
    BODY_PX,
    FRAME,
    INK,
    MARGIN_PX,
    PAPER,
    SMALL_PX,
    SOFT,
    TITLE_PX,
    VERMILLION,
    Colour,
)
from convolens.visual.text import ARROW, class_labels, measure, shorten, write, write_upwards

MOST_NUMBERED = 20
_MATRIX_PX = 1000
_LABEL_PX = 260  # longest class name beside the matrix
_LABEL_STEP_PX = 26  # least distance between two class names
_SIDE_PX = 560
_PAIRS = 10
_LEAST_MARK_PX = 5
_LINE_PX = 34
_LEGEND_SHARES = (0.0, 0.01, 0.05, 0.25, 0.5, 1.0)

Counts = NDArray[np.int64]


class _Layout(NamedTuple):
    """Sizes of the matrix and where it stands [px]."""

    cell: int
    left: int
    top: int
    side: int
    upright: bool


def confusion(matrix: NDArray[np.integer], class_names: Sequence[str]) -> Figure:
    """Draws a confusion matrix: colour is count / (sum of the row), the share of a true class.

    Shares are coloured by their square root, from white to blue where the prediction is right and
    from white to vermillion where it is wrong, so that a mistake of one in a hundred is seen.
    Numbers stand in the cells, and each class's recall beside its row, up to 20 classes.

    Args:
        matrix: counts; rows are true classes, columns predicted ones.
        class_names: K of them, in label order.
    Shape: matrix (K, K) -> pixels (H, W, 3)
    Raises:
        ShapeError: when the matrix is not square or not of as many classes as there are names.
        DataError: when it holds anything but counts.
    Example:
        >>> confusion(np.array([[9, 1], [0, 10]]), ["cat", "dog"]).caption
        '19 of 20 pictures are right (95.00 %); most often confused: cat → dog, 1 time.'
    """
    counts = _checked(matrix, class_names)
    labels = class_labels(class_names)
    layout = _layout(len(counts), labels)
    pairs = most_confused(counts)
    height = layout.top + max(layout.side, 280 + len(pairs) * _LINE_PX) + MARGIN_PX
    width = layout.left + layout.side + 2 * MARGIN_PX + _SIDE_PX
    if len(counts) <= MOST_NUMBERED:
        width += _recall_width()
    image = Image.new("RGB", (width, height), PAPER)
    image.paste(Image.fromarray(cells(counts, layout.cell)), (layout.left, layout.top))
    frame = (layout.left, layout.top, layout.left + layout.side, layout.top + layout.side)
    ImageDraw.Draw(image).rectangle(_around(frame), outline=FRAME)
    _write_classes(image, layout, labels)
    if len(counts) <= MOST_NUMBERED:
        _write_numbers(image, layout, counts)
    _write_side(image, counts, labels, pairs, (width - MARGIN_PX - _SIDE_PX, layout.top))
    return Figure(
        name="confusion", caption=_caption(counts, labels, pairs), pixels=np.asarray(image)
    )


def cells(counts: Counts, cell: int) -> Pixels:
    """The matrix as a picture of cell × cell pixels per pair of classes.

    Cells of 1 or 2 pixels would not be seen: their marks are widened to 5, the darkest on top.

    Shape: counts (K, K) -> (cell·K, cell·K, 3)
    """
    levels = _levels(_shares(counts))
    diagonal = np.eye(len(counts), dtype=bool)
    right = _marks(np.where(diagonal, levels, 0), cell)
    picture = _shades(VERMILLION)[_marks(np.where(diagonal, 0, levels), cell)]
    is_right = (right > 0) | diagonal.repeat(cell, axis=0).repeat(cell, axis=1)
    picture[is_right] = _shades(BLUE)[right[is_right]]
    if len(counts) <= MOST_NUMBERED:
        for line in range(cell, len(picture), cell):
            picture[line - 1 : line + 1] = PAPER
            picture[:, line - 1 : line + 1] = PAPER
    return picture


def tint(shares: NDArray[np.float64], colour: Colour) -> Pixels:
    """White at 0, the full colour at 1, in between by the square root of the share.

    Shape: shares (...) -> (..., 3)
    """
    return _shades(colour)[_levels(shares)]


def most_confused(counts: Counts, most: int = _PAIRS) -> list[tuple[int, int]]:
    """The (true, predicted) pairs of greatest count off the diagonal, greatest first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    found = np.flatnonzero(wrong)
    order = found[np.argsort(-wrong.ravel()[found], kind="stable")][:most]
    return [divmod(int(place), len(counts)) for place in order]


def _checked(matrix: NDArray[np.integer], class_names: Sequence[str]) -> Counts:
    size = len(class_names)
    if size == 0 or matrix.shape != (size, size):
        raise ShapeError(
            f"a confusion matrix of {size} class names must have shape ({size}, {size}) with at "
            f"least one class, received {matrix.shape}"
        )
    if matrix.dtype.kind not in "iu" or matrix.min() < 0:
        what = f"the number {matrix.min()}" if matrix.dtype.kind in "iu" else f"{matrix.dtype}"
        raise DataError(f"a confusion matrix holds counts, integers of at least 0; received {what}")
    return matrix.astype(np.int64)


def _shares(counts: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _levels(shares: NDArray[np.float64]) -> Pixels:
    return np.rint(255.0 * np.sqrt(shares)).astype(np.uint8)


def _shades(colour: Colour) -> Pixels:
    """The 256 colours (256, 3) from white to this one."""
    ink = np.linspace(0.0, 1.0, 256)[:, None]
    return np.rint(255.0 - ink * (255.0 - np.array(colour))).astype(np.uint8)


def _marks(levels: Pixels, cell: int) -> Pixels:
    """The level at each pixel of the picture."""
    marks = levels.repeat(cell, axis=0).repeat(cell, axis=1)
    if cell > _LEAST_MARK_PX // 2:
        return marks
    return np.asarray(Image.fromarray(marks).filter(ImageFilter.MaxFilter(_LEAST_MARK_PX)))


def _layout(size: int, labels: Sequence[str]) -> _Layout:
    if size <= MOST_NUMBERED:
        cell = min(150, max(64, _MATRIX_PX // size))
    else:
        cell = -(-_MATRIX_PX // size)
    widest = min(_LABEL_PX, int(max(measure(label, SMALL_PX) for label in labels)) + 1)
    upright = size > MOST_NUMBERED or widest > cell - 8
    top = MARGIN_PX + 50 + (widest if upright else 24)
    return _Layout(cell, MARGIN_PX + 44 + widest + 12, top, cell * size, upright)


def _write_classes(image: Image.Image, layout: _Layout, labels: Sequence[str]) -> None:
    """Names of as many classes as there is room for, at every side of the matrix that has them."""
    middle = layout.side // 2
    at = (MARGIN_PX + 12, layout.top + middle + int(measure("true", BODY_PX) / 2))
    write_upwards(image, at, "true", size=BODY_PX, colour=SOFT)
    above = (layout.left + middle, MARGIN_PX + 12)
    write(image, above, "predicted", size=BODY_PX, colour=SOFT, anchor="m")
    for index in range(0, len(labels), _label_step(layout.cell)):
        label = shorten(labels[index], SMALL_PX, _LABEL_PX)
        along = index * layout.cell + layout.cell // 2
        write(image, (layout.left - 12, layout.top + along), label, size=SMALL_PX, anchor="r")
        if layout.upright:
            write_upwards(image, (layout.left + along, layout.top - 10), label, size=SMALL_PX)
        else:
            over = (layout.left + along, layout.top - 22)
            write(image, over, label, size=SMALL_PX, anchor="m")


def _label_step(cell: int) -> int:
    """Every 1, 2, 5, 10 … classes: the first step at which names do not touch."""
    steps = (m * 10**power for power in range(9) for m in (1, 2, 5))
    return int(next(step for step in steps if step * cell >= _LABEL_STEP_PX))


def _write_numbers(image: Image.Image, layout: _Layout, counts: Counts) -> None:
    widest = max(measure(f"{count:,}", BODY_PX) for count in counts.ravel().tolist())
    size = min(BODY_PX, int(BODY_PX * (layout.cell - 6) / widest))
    shares = _shares(counts)
    right = layout.left + layout.side
    header = (right + _recall_width(), layout.top - 22)
    write(image, header, "recall", size=SMALL_PX, colour=SOFT, anchor="r")
    for row, (line, total) in enumerate(
        zip(counts.tolist(), counts.sum(axis=1).tolist(), strict=True)
    ):
        y = layout.top + row * layout.cell + layout.cell // 2
        for column, count in enumerate(line):
            if count:
                x = layout.left + column * layout.cell + layout.cell // 2
                colour = PAPER if shares[row, column] > 0.3 else INK
                write(image, (x, y), f"{count:,}", size=size, colour=colour, anchor="m")
        recall = f"{100 * shares[row, row]:.1f} %" if total else "none"
        at = (right + _recall_width(), y)
        write(image, at, recall, size=SMALL_PX, colour=SOFT, anchor="r")


def _recall_width() -> int:
    return int(measure("100.0 %", SMALL_PX)) + 16


def _write_side(
    image: Image.Image,
    counts: Counts,
    labels: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    at: tuple[int, int],
) -> None:
    """How many are right, the pairs most often confused, and the scale of the colours."""
    x, y = at
    total, right = int(counts.sum()), int(np.trace(counts))
    accuracy = f"{100 * right / total:.2f} % right" if total else "no pictures"
    write(image, (x, y + 12), accuracy, size=TITLE_PX)
    words = f"{right:,} of {total:,} pictures"
    write(image, (x, y + 50), words, size=SMALL_PX, colour=SOFT)
    _draw_scale(image, (x, y + 84))
    title = f"most often confused (true {ARROW} predicted)" if pairs else "no class is confused"
    write(image, (x, y + 246), title, size=BODY_PX)
    shares = _shares(counts)
    ends = (x + _SIDE_PX - _recall_width(), x + _SIDE_PX)
    for line, (true, predicted) in enumerate(pairs, start=1):
        down = y + 250 + line * _LINE_PX
        count = f"{counts[true, predicted]:,}"
        room = ends[0] - x - measure(count, SMALL_PX) - 24
        write(image, (x, down), _pair(labels[true], labels[predicted], room), size=SMALL_PX)
        share = f"{100 * shares[true, predicted]:.1f} %"
        for end, number in zip(ends, (count, share), strict=True):
            write(image, (end, down), number, size=SMALL_PX, colour=SOFT, anchor="r")


def _draw_scale(image: Image.Image, at: tuple[int, int]) -> None:
    x, y = at
    swatch = 64
    for row, (colour, word) in enumerate(((BLUE, "right"), (VERMILLION, "wrong"))):
        top = y + 32 * row
        for step, pixel in enumerate(tint(np.array(_LEGEND_SHARES), colour).tolist()):
            box = (x + step * swatch, top, x + (step + 1) * swatch, top + 28)
            image.paste((pixel[0], pixel[1], pixel[2]), box)
        frame = (x, top, x + len(_LEGEND_SHARES) * swatch, top + 28)
        ImageDraw.Draw(image).rectangle(_around(frame), outline=FRAME)
        write(image, (frame[2] + 14, top + 14), word, size=SMALL_PX, colour=SOFT)
    for step, share in enumerate(_LEGEND_SHARES):
        under = (x + step * swatch + swatch // 2, y + 80)
        write(image, under, f"{100 * share:.0f} %", size=SMALL_PX, colour=SOFT, anchor="m")
    write(image, (x, y + 108), "of the true class", size=SMALL_PX, colour=SOFT)


def _pair(true: str, predicted: str, room: float) -> str:
    """Both names, each shortened only as far as the other leaves it too little room."""
    room -= measure(f" {ARROW} ", SMALL_PX)
    widths = [measure(name, SMALL_PX) for name in (true, predicted)]
    left = shorten(true, SMALL_PX, max(room / 2, room - widths[1]))
    return f"{left} {ARROW} {shorten(predicted, SMALL_PX, max(room / 2, room - widths[0]))}"


def _around(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The line of one pixel just outside a box."""
    return box[0] - 1, box[1] - 1, box[2], box[3]


def _caption(counts: Counts, labels: Sequence[str], pairs: Sequence[tuple[int, int]]) -> str:
    total, right = int(counts.sum()), int(np.trace(counts))
    if total == 0:
        return "There is no picture to count."
    words = f"{right:,} of {total:,} pictures are right ({100 * right / total:.2f} %)"
    if not pairs:
        return f"{words}."
    true, predicted = pairs[0]
    times = int(counts[true, predicted])
    pair = f"{labels[true]} {ARROW} {labels[predicted]}"
    return f"{words}; most often confused: {pair}, {times:,} time{'s' if times > 1 else ''}."
