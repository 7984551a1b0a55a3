"""One detection explained as a picture: where the detector looked, and the score's arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convolens.analysis.explanation import Explanation
from convolens.errors import ShapeError
from convolens.visual.explanation import signed_colour
from convolens.visual.figure import Figure, Pixels
from convolens.visual.panels import fitted
from convolens.visual.scene import Inset, Rectangle, Scene, Shape, Words
from convolens.visual.style import (
    BODY_PX,
    MARGIN_PX,
    SMALL_PX,
    SOFT,
    TITLE_PX,
    Colour,
)
from convolens.visual.text import shorten

MOST_TERMS = 6
_PICTURE_PX = 640
_LINE_PX = 36
_TEXT_PX = 900
_BAR_PX = 150
_LEFT = 2 * MARGIN_PX + _PICTURE_PX
_WIDTH_PX = _LEFT + _TEXT_PX + MARGIN_PX


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A rectangle on the picture.

    Args:
        name: what it is, for the legend.
        box: x0, y0, x1, y1 in the picture's pixels.
        colour: of its outline.
    """

    name: str
    box: tuple[float, float, float, float]
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A number of the network, with what it sums.

    Args:
        name: of the number.
        explanation: of it.
    """

    name: str
    explanation: Explanation


def detection_figure(
    image: Pixels, marks: Sequence[Mark], sums: Sequence[Sum], lines: Sequence[str], title: str
) -> Figure:
    """Draws where a detector looked, beside the sums that speak for the class and what follows.

    Args:
        image: the picture that the network saw, uint8.
        marks: rectangles, the last on top.
        sums: the numbers that speak for the class.
        lines: what becomes of them.
        title: the detection.
    Shape: image (1 or 3, H, W) -> pixels (H', W', 3)
    Raises:
        ShapeError: when the image has another form.
    """
    pixels = _scene(image, marks, sums, lines, title).pixels()
    return Figure(name="detection", caption=_caption(title, marks), pixels=pixels)


def detection_svg(
    image: Pixels, marks: Sequence[Mark], sums: Sequence[Sum], lines: Sequence[str], title: str
) -> str:
    """The same drawing as `detection_figure`, as an SVG document."""
    return _scene(image, marks, sums, lines, title).svg(_caption(title, marks))


def _caption(title: str, marks: Sequence[Mark]) -> str:
    return f"{title}. On the picture: {', '.join(mark.name for mark in marks)}."


def _scene(
    image: Pixels, marks: Sequence[Mark], sums: Sequence[Sum], lines: Sequence[str], title: str
) -> Scene:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ShapeError(
            f"image must be uint8 of shape (1 or 3, H, W), received {image.dtype} {image.shape}"
        )
    heading = shorten(title, TITLE_PX, _WIDTH_PX - 2 * MARGIN_PX)
    shapes: list[Shape] = [Words(at=(MARGIN_PX, MARGIN_PX + 16), text=heading, size=TITLE_PX)]
    top = MARGIN_PX + 2 * _LINE_PX
    below = _marked(shapes, image, marks, top)
    right = _summed(shapes, sums, top)
    for line in lines:
        text = shorten(line, SMALL_PX, _TEXT_PX)
        shapes.append(Words(at=(_LEFT, right + 10), text=text, size=SMALL_PX))
        right += _LINE_PX
    return Scene(width=_WIDTH_PX, height=max(below, right) + MARGIN_PX, shapes=shapes)


def _marked(shapes: list[Shape], image: Pixels, marks: Sequence[Mark], top: int) -> int:
    """Adds the picture with the rectangles, and their legend; gives the first row below."""
    pixels = fitted(image, _PICTURE_PX)
    height, width = pixels.shape[:2]
    sy, sx = height / image.shape[1], width / image.shape[2]
    shapes.append(Inset(left=MARGIN_PX, top=top, pixels=pixels))
    for above, mark in zip(reversed(range(len(marks))), marks, strict=True):
        ends = [round(min(max(v * sx, 0), width)) for v in mark.box[0::2]]
        rows = [round(min(max(v * sy, 0), height)) for v in mark.box[1::2]]
        shapes.append(
            Rectangle(
                left=MARGIN_PX + ends[0],
                top=top + rows[0],
                width=max(6, ends[1] - ends[0]),
                height=max(6, rows[1] - rows[0]),
                outline=mark.colour,
                stroke_px=4 + 3 * above,  # so that one under another can be seen
            )
        )
    top += height + _LINE_PX
    for mark in marks:
        swatch = Rectangle(left=MARGIN_PX, top=top - 9, width=28, height=18, fill=mark.colour)
        text = shorten(mark.name, SMALL_PX, _PICTURE_PX - 50)
        shapes += [swatch, Words(at=(MARGIN_PX + 42, top), text=text, size=SMALL_PX)]
        top += _LINE_PX
    return top


def _summed(shapes: list[Shape], sums: Sequence[Sum], top: int) -> int:
    """Adds the strongest terms of each sum as bars, and the sums; gives the first row below."""
    for each in sums:
        found = each.explanation
        unit = ", ".join(map(str, found.unit))
        words = f"{each.name}: {found.operation}, unit ({unit}) of {found.layer}"
        text = shorten(words, BODY_PX, _TEXT_PX)
        shapes.append(Words(at=(_LEFT, top + 10), text=text, size=BODY_PX))
        top += _LINE_PX + 8
        order = sorted(found.terms, key=lambda term: -abs(term.product))
        greatest = max((abs(term.product) for term in order[:1]), default=0.0) or 1.0
        for term in order[:MOST_TERMS]:
            length = max(1, round(_BAR_PX * abs(term.product) / greatest))
            colour = signed_colour(1.0 if term.product >= 0 else -1.0)
            shapes.append(
                Rectangle(left=_LEFT, top=top, width=length, height=_LINE_PX - 14, fill=colour)
            )
            place = ", ".join(map(str, term.unit))
            words = f"{term.value:.4g} × {term.weight:.4g} = {term.product:.4g}"
            text = shorten(f"{words}   {term.source} ({place})", SMALL_PX, _TEXT_PX - _BAR_PX - 24)
            at = (_LEFT + _BAR_PX + 24, top + _LINE_PX // 2 - 6)
            shapes.append(Words(at=at, text=text, size=SMALL_PX))
            top += _LINE_PX
        rest = sum(term.product for term in order[MOST_TERMS:])
        left_out = max(0, len(order) - MOST_TERMS)
        words = f"the other {left_out:,} terms: {rest:.4g}; all: {found.total:.6g}"
        if found.bias is not None:
            words += f"; with the bias {found.bias:.6g}: {found.total + found.bias:.6g}"
        shapes.append(Words(at=(_LEFT, top + 10), text=words, size=SMALL_PX, colour=SOFT))
        top += _LINE_PX + 16
    return top
