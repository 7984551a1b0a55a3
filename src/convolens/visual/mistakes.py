"""The pictures that a classifier got wrong while it was most sure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import DataError, ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import (
    BODY_PX,
    FRAME,
    MARGIN_PX,
    PAPER,
    SMALL_PX,
    SOFT,
    TITLE_PX,
)
from convolens.visual.text import ARROW, class_labels, measure, shorten, write
from convolens.visual.tiles import enlarge, origin, sheet, square_columns

MOST_SHOWN = 100
_PICTURE_PX = 200
_LARGEST_PX = 256
_LINE_PX = 32
_GAP = (28, 28)
_HEADING_PX = 36


def worst_mistakes(
    pictures: Pixels,
    true: NDArray[np.integer],
    predicted: NDArray[np.integer],
    probability: NDArray[np.floating],
    class_names: Sequence[str],
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws mistakes in a grid, each with its true class, the class predicted, and how surely.

    Small pictures are enlarged by a whole factor, pixel by pixel; pictures of more than 256 px are
    reduced. The first 100 are shown.

    Args:
        pictures: uint8, grey or RGB; the worst mistake first.
        true, predicted: labels.
        probability: what the classifier gave the predicted class, from 0 to 1.
        names: what a person knows each picture by.
    Shape: pictures (M, C, H, W), the others (M,) -> pixels (H', W', 3)
    Raises:
        ShapeError: when the pictures are no (M, 1 or 3, H, W) or the others are not M long.
        DataError: when a label has no class name, or a probability is not from 0 to 1.
    Example:
        >>> pictures = np.zeros((1, 1, 28, 28), np.uint8)
        >>> label, other, sure = np.array([0]), np.array([1]), np.array([0.98])
        >>> worst_mistakes(pictures, label, other, sure, ["cat", "dog"]).caption
        'The 1 mistake of greatest confidence: cat → dog, 98 %.'
    """
    _check(pictures, true, predicted, probability, len(class_names), names)
    total = len(pictures)
    if total == 0:
        return _nothing()
    labels = class_labels(class_names)
    shown = slice(0, MOST_SHOWN)
    tiles = sized(pictures[shown])
    pairs = [(labels[t], labels[p]) for t, p in zip(true[shown], predicted[shown], strict=True)]
    notes = [percent(float(value)) for value in probability[shown]]
    if names is not None:
        notes = [f"{n}   {class_labels([name])[0]}" for n, name in zip(notes, names, strict=False)]
    count = f"{total:,} mistake{'s' if total > 1 else ''}"
    first = f"{pairs[0][0]} {ARROW} {pairs[0][1]}, {percent(float(probability[0]))}"
    some = f"The first {MOST_SHOWN} of {count}" if total > MOST_SHOWN else f"The {count}"
    return Figure(
        name="mistakes",
        caption=f"{some} of greatest confidence: {first}.",
        pixels=_draw(tiles, pairs, notes),
    )


def sized(pictures: Pixels) -> Pixels:
    """The pictures in RGB, small ones enlarged by a whole factor, large ones reduced.

    Shape: pictures (M, 1 or 3, H, W) -> (M, h, w, 3), the longer side within 101 to 256
    """
    rgb = np.broadcast_to(pictures, (len(pictures), 3, *pictures.shape[2:])).transpose(0, 2, 3, 1)
    longer = max(rgb.shape[1:3])
    if longer <= _LARGEST_PX:
        return enlarge(rgb, max(1, _PICTURE_PX // longer))
    height, width = (max(1, round(side * _LARGEST_PX / longer)) for side in rgb.shape[1:3])
    images = (Image.fromarray(np.ascontiguousarray(picture)) for picture in rgb)
    box = Image.Resampling.BOX
    return np.stack([np.asarray(image.resize((width, height), box)) for image in images])


def percent(probability: float) -> str:
    """A probability in words that never says 100 % of what is only nearly sure.

    Example:
        >>> [percent(p) for p in (0.5, 0.984, 0.9973, 0.9999999)]
        ['50 %', '98 %', '99.7 %', '> 99.9 %']
    """
    if probability > 0.999:
        return "> 99.9 %"
    return f"{100 * probability:.1f} %" if probability >= 0.99 else f"{100 * probability:.0f} %"


def _draw(tiles: Pixels, pairs: Sequence[tuple[str, str]], notes: Sequence[str]) -> Pixels:
    count, height, width, _ = tiles.shape
    lines = [f"{true} {ARROW} {predicted}" for true, predicted in pairs]
    cell_width = max(_PICTURE_PX, width + 2)
    two_lines = max(measure(line, BODY_PX) for line in lines) > cell_width
    words_px = (3 if two_lines else 2) * _LINE_PX + 8
    cells = np.full((count, height + 2 + words_px, cell_width, 3), PAPER, np.uint8)
    # A thin frame tells a white picture from the paper.
    cells[:, : height + 2, : width + 2] = FRAME
    cells[:, 1 : height + 1, 1 : width + 1] = tiles
    columns = square_columns(count)
    grid = Image.fromarray(sheet(cells, columns, _GAP))
    heading = f"true {ARROW} predicted, and how surely"
    across = max(grid.width, int(measure(heading, SMALL_PX)))
    top = MARGIN_PX + _HEADING_PX
    image = Image.new("RGB", (across + 2 * MARGIN_PX, top + grid.height + MARGIN_PX), PAPER)
    write(image, (MARGIN_PX, MARGIN_PX + 6), heading, size=SMALL_PX, colour=SOFT)
    image.paste(grid, (MARGIN_PX, top))
    for index, (pair, line, note) in enumerate(zip(pairs, lines, notes, strict=True)):
        down, along = origin(index, columns, (cells.shape[1], cell_width), _GAP)
        words = [line] if not two_lines else [pair[0], f"{ARROW} {pair[1]}"]
        x, y = MARGIN_PX + along, top + down + height + 10 + _LINE_PX // 2
        for word in words:
            write(image, (x, y), shorten(word, BODY_PX, cell_width), size=BODY_PX)
            y += _LINE_PX
        write(image, (x, y), shorten(note, SMALL_PX, cell_width), size=SMALL_PX, colour=SOFT)
    return np.asarray(image)


def _nothing() -> Figure:
    image = Image.new("RGB", (640, 160), PAPER)
    write(image, (320, 80), "no mistakes", size=TITLE_PX, colour=SOFT, anchor="m")
    return Figure(name="mistakes", caption="There are no mistakes.", pixels=np.asarray(image))


def _check(
    pictures: Pixels,
    true: NDArray[np.integer],
    predicted: NDArray[np.integer],
    probability: NDArray[np.floating],
    num_classes: int,
    names: Sequence[str] | None,
) -> None:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise ShapeError(
            "pictures must be uint8 of shape (M, C, H, W) with C 1 or 3, "
            f"received {pictures.dtype} of shape {pictures.shape}"
        )
    count = len(pictures)
    for word, values in (("true", true), ("predicted", predicted), ("probability", probability)):
        if values.shape != (count,):
            raise ShapeError(
                f"{word} must have shape ({count},) for {count} pictures, received {values.shape}"
            )
    if names is not None and len(names) != count:
        raise ShapeError(f"names must be {count} for {count} pictures, received {len(names)}")
    for word, labels in (("true", true), ("predicted", predicted)):
        outside = labels[(labels < 0) | (labels >= num_classes)]
        if outside.size:
            raise DataError(
                f"a {word} label must be from 0 to {num_classes - 1}, one of the {num_classes} "
                f"class names; received {outside[0]}"
            )
    # A softmax in single precision may sum to a little more than 1.
    unlikely = probability[~((probability >= 0) & (probability <= 1 + 1e-5))]
    if unlikely.size:
        raise DataError(f"a probability must be from 0 to 1, received {unlikely[0]:g}")
