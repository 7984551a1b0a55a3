"""The arithmetic behind one unit as a picture: what it sees, its patch, kernel and products."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.analysis.explanation import Explanation, Step, volume_of
from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.scene import Inset, Rectangle, Scene, Shape, Stroke, Words
from convolens.visual.style import (
    BLUE,
    BODY_PX,
    FRAME,
    GRID,
    INK,
    MARGIN_PX,
    PAPER,
    SMALL_PX,
    SOFT,
    TITLE_PX,
    VERMILLION,
    Colour,
)
from convolens.visual.text import measure, shorten

MOST_CHANNELS = 3
MOST_TERMS = 8
LARGEST_GRID = 64
_PICTURE_PX = 420
_GRID_PX = 280
_GAP_PX = 40
_LINE_PX = 38
_LEAST_NUMBERED_PX = 48
_CELL_TEXT_PX = 16
_BAR_PX = 200
_GRIDS_LEFT = 2 * MARGIN_PX + _PICTURE_PX
_WIDTH_PX = _GRIDS_LEFT + 3 * (_GRID_PX + _GAP_PX) + 340


def explanation_figure(explanation: Explanation, image: Pixels) -> Figure:
    """Draws an explanation: the image with what the unit sees, and its arithmetic beside it.

    Vermillion is above 0, blue below, and padding is crossed out; values, weights and products
    have a scale each. Of many channels or terms the strongest are shown. What is unfolded follows
    below.

    Args:
        image: the picture that the network saw, uint8.
    Shape: image (1 or 3, H, W) -> pixels (H', W', 3)
    Raises:
        ShapeError: when the image has another form.
    """
    scene = _scene(explanation, image)
    return Figure(name="explanation", caption=_caption(explanation), pixels=scene.pixels())


def explanation_svg(explanation: Explanation, image: Pixels) -> str:
    """The same drawing as `explanation_figure`, as an SVG document."""
    return _scene(explanation, image).svg(_caption(explanation))


def _caption(explanation: Explanation) -> str:
    words = (
        f"Unit {_place(explanation.unit)} of {explanation.layer} is {explanation.network:.6g}: "
        f"{explanation.operation}"
    )
    if explanation.performed_by not in (explanation.layer, explanation.operation):
        words += f" in {explanation.performed_by}"
    return words + ". Vermillion is above 0, blue below; crossed cells are padding."


def _scene(explanation: Explanation, image: Pixels) -> Scene:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ShapeError(
            f"image must be uint8 of shape (1 or 3, H, W), received {image.dtype} {image.shape}"
        )
    shapes: list[Shape] = []
    top = MARGIN_PX
    for level, each in _unfolded(explanation, 0):
        if level:
            shapes.append(
                Stroke(begin=(MARGIN_PX, top), end=(_WIDTH_PX - MARGIN_PX, top), colour=GRID)
            )
            top += MARGIN_PX
        title = shorten(_title(each), TITLE_PX, _WIDTH_PX - 2 * MARGIN_PX)
        shapes.append(Words(at=(MARGIN_PX, top + 16), text=title, size=TITLE_PX))
        top += 2 * _LINE_PX
        shapes += _seen(each, image, top)
        below = _terms(each, shapes, top)
        top = max(below, top + _PICTURE_PX + _LINE_PX) + MARGIN_PX // 2
        for line in _arithmetic(each):
            text = shorten(line, BODY_PX, _WIDTH_PX - 2 * MARGIN_PX)
            shapes.append(Words(at=(MARGIN_PX, top), text=text, size=BODY_PX))
            top += _LINE_PX
        top += MARGIN_PX // 2
    return Scene(width=_WIDTH_PX, height=top, shapes=shapes)


def _unfolded(explanation: Explanation, level: int) -> Iterator[tuple[int, Explanation]]:
    yield level, explanation
    for child in explanation.children:
        yield from _unfolded(child, level + 1)


def _title(explanation: Explanation) -> str:
    words = f"{explanation.layer} {_place(explanation.unit)}: {explanation.operation}"
    if explanation.performed_by not in (explanation.layer, explanation.operation):
        words += f" in {explanation.performed_by}"
    return words


def _seen(explanation: Explanation, image: Pixels, top: int) -> Iterator[Shape]:
    """The image, with a frame around the pixels that the unit depends on."""
    channels, height, width = image.shape
    rgb = image.transpose(1, 2, 0) if channels == 3 else image[0][:, :, None].repeat(3, axis=2)
    factor = _PICTURE_PX / max(height, width)
    kind = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX
    size = max(1, round(width * factor)), max(1, round(height * factor))
    pixels = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, kind))
    yield Inset(left=MARGIN_PX, top=top, pixels=pixels)
    if explanation.rows is None or explanation.cols is None:
        return
    rows, cols = explanation.rows, explanation.cols
    spans = [f"{first}-{last}" for first, last in (rows, cols)]
    left, up = MARGIN_PX + int(cols[0] * factor), top + int(rows[0] * factor)
    across, down = (max(6, round((last - first + 1) * factor)) for first, last in (cols, rows))
    yield Rectangle(left=left, top=up, width=across, height=down, outline=VERMILLION, stroke_px=4)
    text = f"depends on rows {spans[0]}, columns {spans[1]}"
    at = (MARGIN_PX, top + size[1] + 22)
    yield Words(at=at, text=text, size=SMALL_PX, colour=SOFT)


def _terms(explanation: Explanation, shapes: list[Shape], top: int) -> int:
    """Adds the terms to the shapes; gives the first row below them."""
    if not explanation.explained:
        return _inputs(explanation, shapes, top)
    volume = volume_of(explanation)
    if volume is None or max(len(volume.ys), len(volume.xs)) > LARGEST_GRID:
        return _bars(explanation, shapes, top)
    shown = volume.strongest(MOST_CHANNELS)
    names = ("value", "weight", "product")
    arrays = (volume.values, volume.weights, volume.products)
    limits = [float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) or 1.0 for a in arrays]
    for column, (name, limit) in enumerate(zip(names, limits, strict=True)):
        left = _GRIDS_LEFT + column * (_GRID_PX + _GAP_PX)
        words = f"{name}, up to {limit:.3g}"
        shapes.append(Words(at=(left, top + 8), text=words, size=SMALL_PX, colour=SOFT))
    top += _LINE_PX
    height = 0
    for n in shown:
        for column, (array, limit) in enumerate(zip(arrays, limits, strict=True)):
            left = _GRIDS_LEFT + column * (_GRID_PX + _GAP_PX)
            padded = volume.padded[n] if column == 0 else np.zeros_like(volume.padded[n])
            height = _grid(shapes, array[n], padded, limit, (left, top))
        left = _GRIDS_LEFT + 3 * (_GRID_PX + _GAP_PX)
        lines = (f"channel {volume.channels[n]}", volume.source, f"sum {volume.sums[n]:.4g}")
        for row, line in enumerate(lines):
            text = shorten(line, SMALL_PX, _WIDTH_PX - left - MARGIN_PX)
            shapes.append(Words(at=(left, top + 14 + row * 28), text=text, size=SMALL_PX))
        top += max(height, 90) + _GAP_PX // 2
    rest = len(volume.channels) - len(shown)
    if rest:
        others = float(volume.sums.sum() - volume.sums[shown].sum())
        text = f"the other {_count(rest, 'channel')}: sum {others:.4g}"
        shapes.append(Words(at=(_GRIDS_LEFT, top + 10), text=text, size=SMALL_PX))
        top += _LINE_PX
    return top


def _grid(
    shapes: list[Shape],
    grid: NDArray[np.float64],
    padded: NDArray[np.bool_],
    limit: float,
    corner: tuple[int, int],
) -> int:
    """Adds one channel as cells of colour, with numbers where they are large; gives its height."""
    rows, columns = int(grid.shape[0]), int(grid.shape[1])
    side = max(1, min(_GRID_PX // max(rows, columns), 84))
    for y in range(rows):
        for x in range(columns):
            value = float(grid[y, x])
            if np.isnan(value):
                continue
            left, top = corner[0] + x * side, corner[1] + y * side
            fill = GRID if padded[y, x] else signed_colour(value / limit)
            frame = FRAME if side > 6 else None
            shapes.append(
                Rectangle(
                    left=left,
                    top=top,
                    width=side,
                    height=side,
                    fill=fill,
                    outline=frame,
                    stroke_px=1,
                )
            )
            if padded[y, x]:
                end = (left + side - 1, top + side - 1)
                shapes.append(Stroke(begin=(left, top), end=end, colour=FRAME))
            if side >= _LEAST_NUMBERED_PX and np.isfinite(value):
                shapes.append(_numbered(value, (left + side // 2, top + side // 2), side, fill))
    return rows * side


def _numbered(value: float, at: tuple[int, int], side: int, fill: Colour) -> Words:
    texts = [f"{value:.{digits}g}" for digits in (3, 2, 1)]
    text = next((t for t in texts if measure(t, _CELL_TEXT_PX) <= side - 4), texts[-1])
    size = _CELL_TEXT_PX
    while measure(text, size) > side - 4 and size > 9:
        size -= 1
    dark = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] < 140
    return Words(at=at, text=text, size=size, colour=PAPER if dark else INK, anchor="m")


def signed_colour(level: float) -> Colour:
    """White for 0, towards vermillion for 1 and towards blue for −1; beyond, as at the end.

    Example:
        >>> signed_colour(0.0), signed_colour(1.0) == VERMILLION, signed_colour(-7.0) == BLUE
        ((255, 255, 255), True, True)
    """
    end = VERMILLION if level > 0 else BLUE
    share = min(abs(level), 1.0)
    red, green, blue = (round(255 + (part - 255) * share) for part in end)
    return red, green, blue


def _bars(explanation: Explanation, shapes: list[Shape], top: int) -> int:
    """The strongest terms, each a line with a bar as long as its product."""
    order = sorted(explanation.terms, key=lambda term: -abs(term.product))
    greatest = abs(order[0].product) or 1.0
    for term in order[:MOST_TERMS]:
        length = max(1, round(_BAR_PX * min(abs(term.product) / greatest, 1.0)))
        colour = signed_colour(1.0 if term.product >= 0 else -1.0)
        shapes.append(
            Rectangle(left=_GRIDS_LEFT, top=top, width=length, height=_LINE_PX - 12, fill=colour)
        )
        where = f"{term.source} {_place(term.unit)}" if term.source else "padding"
        if term.product == term.weight * term.value:
            words = f"{term.value:.4g} × {term.weight:.4g} = {term.product:.4g}   {where}"
        else:
            words = f"{term.value:.4g} gives {term.product:.4g}   {where}"
        left = _GRIDS_LEFT + _BAR_PX + _GAP_PX
        text = shorten(words, SMALL_PX, _WIDTH_PX - left - MARGIN_PX)
        at = (left, top + _LINE_PX // 2 - 6)
        shapes.append(Words(at=at, text=text, size=SMALL_PX))
        top += _LINE_PX
    rest = order[MOST_TERMS:]
    if rest:
        others = sum(term.product for term in rest)
        text = f"the other {_count(len(rest), 'term')}: sum {others:.4g}"
        shapes.append(Words(at=(_GRIDS_LEFT, top + 10), text=text, size=SMALL_PX))
        top += _LINE_PX
    return top


def _inputs(explanation: Explanation, shapes: list[Shape], top: int) -> int:
    lines = [explanation.formula]
    for given in explanation.inputs:
        at = "" if given.value is None else f"{given.value:.4g} here, "
        lines.append(f"{given.name}: {at}{given.least:.4g} to {given.greatest:.4g}")
    for line in lines:
        text = shorten(line, SMALL_PX, _WIDTH_PX - _GRIDS_LEFT - MARGIN_PX)
        shapes.append(Words(at=(_GRIDS_LEFT, top + 10), text=text, size=SMALL_PX))
        top += _LINE_PX
    return top


def _arithmetic(explanation: Explanation) -> Iterator[str]:
    if not explanation.explained:
        yield f"the network's value: {explanation.network:.9g}"
        return
    words = "sum" if len(explanation.terms) > 1 else "value"
    line = f"{words} {explanation.total:.6g}"
    if explanation.bias is not None:
        total = explanation.total + explanation.bias
        line += f"   + bias {explanation.bias:.6g} = {total:.6g}"
    yield line
    for step in explanation.steps:
        yield _step(step)
    yield (
        f"computed {explanation.computed:.9g} in float64; the network has "
        f"{explanation.network:.9g}, which differs by {explanation.difference:.2g}"
    )
    for step in explanation.following:
        yield f"then {step.layer}: {step.formula} = {step.result:.6g}"


def _step(step: Step) -> str:
    return f"{step.name}: {step.formula} = {step.result:.6g}"


def _place(position: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, position))})"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
