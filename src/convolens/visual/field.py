"""A receptive field drawn on the picture that it looks at."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.style import BLUE, BODY_PX, FRAME, MARGIN_PX, PAPER, VERMILLION
from convolens.visual.text import shorten, write

LONGEST_PX = 900
SHORTEST_PX = 448
LINE_PX = 4
STRENGTH = 0.75
Span = tuple[int, int]


def draw_field(
    image: Pixels,
    rows: Span,
    cols: Span,
    *,
    effective: NDArray[np.floating] | None = None,
    title: str = "",
) -> Figure:
    """A picture with the rectangle that one unit sees, and how much each pixel counts in it.

    A field that passes the picture's border is drawn on the padding around it, hatched.

    Args:
        image: uint8 (H, W, 3).
        rows: first and last row that the unit sees, both included; before the clipping at the
            border, where the padding is to be shown [px].
        cols: first and last column, likewise [px].
        effective: (H, W), 0 or more: how much the unit depends on each pixel; not drawn where None.
        title: what unit it is.
    Returns: the picture, enlarged by a whole number where it is small.
    Raises:
        ShapeError: when the picture, the field or the effective field does not fit.
    Example:
        >>> figure = draw_field(np.zeros((32, 32, 3), np.uint8), (-2, 8), (4, 14))
        >>> figure.caption
        'The unit sees 11×11 pixels, rows −2 to 8 and columns 4 to 14; 22 of them are padding.'
    """
    _check(image, rows, cols, effective)
    height, width = image.shape[:2]
    pad = max(0, -rows[0], -cols[0], rows[1] - height + 1, cols[1] - width + 1)
    whole = max(height, width) + 2 * pad
    scale = max(1, -(-SHORTEST_PX // whole)) if whole < SHORTEST_PX else 1
    shrink = min(1.0, LONGEST_PX / (whole * scale))
    factor = scale * shrink

    shown = image if effective is None else _heated(image, effective)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    way = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    picture = Image.fromarray(np.ascontiguousarray(shown)).resize(size, way)
    border = round(pad * factor)
    head = BODY_PX * 2 if title else 0
    around = 2 * (border + MARGIN_PX)
    canvas = Image.new("RGB", (size[0] + around, size[1] + around + head), PAPER)
    left, top = MARGIN_PX + border, MARGIN_PX + border + head
    if border:
        _hatch(canvas, (MARGIN_PX, MARGIN_PX + head), (size[0] + 2 * border, size[1] + 2 * border))
    canvas.paste(picture, (left, top))
    draw = ImageDraw.Draw(canvas)
    corners = (
        left + round(cols[0] * factor),
        top + round(rows[0] * factor),
        left + round((cols[1] + 1) * factor) - 1,
        top + round((rows[1] + 1) * factor) - 1,
    )
    _frame(draw, corners)
    if title:
        room = canvas.width - 2 * MARGIN_PX
        write(canvas, (MARGIN_PX, MARGIN_PX), shorten(title, BODY_PX, room), size=BODY_PX)
    return Figure(
        name="field",
        caption=_caption(rows, cols, (height, width), effective),
        pixels=np.asarray(canvas),
    )


def _check(image: Pixels, rows: Span, cols: Span, effective: NDArray[np.floating] | None) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ShapeError(
            f"a picture is uint8 of shape (H, W, 3), received {image.dtype} of {image.shape}"
        )
    for name, (first, last), length in (
        ("rows", rows, image.shape[0]),
        ("cols", cols, image.shape[1]),
    ):
        if last < first or last < 0 or first >= length:
            raise ShapeError(
                f"{name} must be (first, last) and meet the picture's 0 to {length - 1}, "
                f"received ({first}, {last})"
            )
    if effective is not None and effective.shape != image.shape[:2]:
        raise ShapeError(
            f"the effective field must have the picture's {image.shape[0]}×{image.shape[1]}, "
            f"received {'×'.join(map(str, effective.shape))}"
        )


def _heated(image: Pixels, effective: NDArray[np.floating]) -> Pixels:
    """The picture in grey, with a warm colour as strong as the unit depends on each pixel."""
    grey = image.mean(axis=2, keepdims=True)
    heat = np.nan_to_num(np.abs(effective.astype(np.float64)))
    # The root lets the weak flanks of a field be seen beside its peak.
    heat = np.sqrt(heat / max(float(heat.max()), 1e-300))[:, :, None] * STRENGTH
    mixed = grey * (1 - heat) + np.array(VERMILLION, np.float64) * heat
    heated: Pixels = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return heated


def _hatch(canvas: Image.Image, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Padding: thin slanted lines on white."""
    tile = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(tile)
    for start in range(-size[1], size[0], 10):
        draw.line([(start, size[1]), (start + size[1], 0)], fill=FRAME, width=2)
    canvas.paste(tile, corner)


def _frame(draw: ImageDraw.ImageDraw, corners: tuple[int, int, int, int]) -> None:
    """The rectangle and the cross at its middle, with a white edge that shows on any picture."""
    x0, y0, x1, y1 = corners
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=PAPER, width=LINE_PX + 2)
    draw.rectangle(corners, outline=BLUE, width=LINE_PX)
    x, y, arm = (x0 + x1) // 2, (y0 + y1) // 2, 8
    for colour, thick in ((PAPER, 6), (BLUE, 2)):
        draw.line([(x - arm, y), (x + arm, y)], fill=colour, width=thick)
        draw.line([(x, y - arm), (x, y + arm)], fill=colour, width=thick)


def _caption(
    rows: Span, cols: Span, shape: tuple[int, int], effective: NDArray[np.floating] | None
) -> str:
    tall, wide = rows[1] - rows[0] + 1, cols[1] - cols[0] + 1
    inside = (min(rows[1], shape[0] - 1) - max(rows[0], 0) + 1) * (
        min(cols[1], shape[1] - 1) - max(cols[0], 0) + 1
    )
    text = (
        f"The unit sees {tall}×{wide} pixels, rows {_signed(rows[0])} to {_signed(rows[1])} and "
        f"columns {_signed(cols[0])} to {_signed(cols[1])}"
    )
    padding = tall * wide - inside
    text += f"; {padding:,} of them are padding." if padding else "."
    if effective is not None:
        text += " The warmer a pixel, the more the unit depends on it."
    return text


def _signed(number: int) -> str:
    return str(number).replace("-", "−")
