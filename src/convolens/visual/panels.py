"""Pictures with a title above and a note below, laid out in rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.visual.figure import Pixels
from convolens.visual.signed_maps import map_tiles
from convolens.visual.style import (
    BODY_PX,
    FRAME,
    INK,
    MARGIN_PX,
    PAPER,
    SMALL_PX,
    SOFT,
    VERMILLION,
    Colour,
)
from convolens.visual.text import measure, shorten, write
from convolens.visual.tiles import enlarge

_PICTURE_PX = 240
_TITLE_ROW_PX = 40
_NOTE_ROW_PX = 34
_LEAST_TYPE_PX = 15
_GAP_PX = 28
_CRISP = 3  # an enlargement from which single pixels are meant to be seen
_STRONGEST = 0.8  # of an overlay, so that the picture shines through

Values = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of several.

    Args:
        title: above it.
        pixels: (H, W, 3), as it is drawn.
        note: below it, small; empty for none.
    """

    title: str
    pixels: Pixels
    note: str = ""


def draw_panels(panels: Sequence[Panel], columns: int, heading: str = "") -> Pixels:
    """Lays panels out row by row; each cell is as large as the largest picture.

    Shape: -> (H, W, 3)
    """
    height = max(panel.pixels.shape[0] for panel in panels) + 2
    width = max(140, *(panel.pixels.shape[1] for panel in panels)) + 2
    notes_px = _NOTE_ROW_PX if any(panel.note for panel in panels) else 0
    step = (_TITLE_ROW_PX + height + notes_px + _GAP_PX // 2, width + _GAP_PX)
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    top = MARGIN_PX + (44 if heading else 0)
    across = columns * step[1] - _GAP_PX + 2 * MARGIN_PX
    image = Image.new("RGB", (across, top + rows * step[0] + MARGIN_PX // 2), PAPER)
    if heading:
        words = shorten(heading, BODY_PX, across - 2 * MARGIN_PX)
        write(image, (MARGIN_PX, MARGIN_PX), words, size=BODY_PX, colour=SOFT)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        x, y = MARGIN_PX + column * step[1], top + row * step[0]
        _write_fitting(image, (x, y + _TITLE_ROW_PX / 2 - 4), panel.title, BODY_PX, width, INK)
        framed = np.full((panel.pixels.shape[0] + 2, panel.pixels.shape[1] + 2, 3), FRAME, np.uint8)
        framed[1:-1, 1:-1] = panel.pixels
        image.paste(Image.fromarray(framed), (x, y + _TITLE_ROW_PX))
        if panel.note:
            at = (x, y + _TITLE_ROW_PX + height + _NOTE_ROW_PX / 2)
            _write_fitting(image, at, panel.note, SMALL_PX, width, SOFT)
    return np.asarray(image)


def _write_fitting(
    image: Image.Image, at: tuple[float, float], text: str, size: int, most_px: int, colour: Colour
) -> None:
    """Writes a line as large as it fits, and shortened where it would be too small to read."""
    while size > _LEAST_TYPE_PX and measure(text, size) > most_px:
        size -= 1
    write(image, at, shorten(text, size, most_px), size=size, colour=colour)


def whole_factor(size: Sequence[int], target: int = _PICTURE_PX) -> int:
    """By how much a picture is enlarged so that its longer side is `target` or a little less."""
    return max(1, target // max(size))


def shown(picture: Pixels, target: int = _PICTURE_PX) -> Pixels:
    """A grey or RGB picture in RGB, small ones enlarged pixel by pixel.

    Shape: (1 or 3, H, W) -> (h, w, 3)
    """
    rgb = np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)
    large: Pixels = enlarge(rgb[None], whole_factor(rgb.shape[:2], target))[0]
    return large


def fitted(picture: Pixels, target: int) -> Pixels:
    """A grey or RGB picture in RGB, its longer side `target`, or a little less of small ones.

    Small ones keep their pixels' edges, others are scaled smoothly.

    Shape: (1 or 3, H, W) -> (h, w, 3)
    """
    longer = max(picture.shape[1:])
    if whole_factor(picture.shape[1:], target) >= _CRISP or longer == target:
        return shown(picture, target)
    rgb = np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)
    size = [max(1, round(side * target / longer)) for side in rgb.shape[1::-1]]
    image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(image.resize((size[0], size[1]), Image.Resampling.LANCZOS))


def heat(values: Values, limit: float, target: int = _PICTURE_PX) -> Pixels:
    """A map from −limit (blue) over 0 (white) to limit (vermillion), enlarged likewise.

    Shape: (H, W) -> (h, w, 3)
    """
    large: Pixels = enlarge(map_tiles(values[None], limit), whole_factor(values.shape, target))[0]
    return large


def overlay(picture: Pixels, values: Values, colour: Colour = VERMILLION) -> Pixels:
    """A map that is not negative, 0…1, laid in a colour over the grey picture.

    Shape: picture (1 or 3, H, W), values (H, W) -> (h, w, 3)
    """
    grey = picture.mean(axis=0, keepdims=True).repeat(3, axis=0).transpose(1, 2, 0)
    pale = 255.0 - (255.0 - grey) * 0.75
    share = _STRONGEST * np.clip(np.nan_to_num(values), 0.0, 1.0)[..., None]
    mixed = pale * (1.0 - share) + np.array(colour, np.float64) * share
    tile = np.rint(mixed).astype(np.uint8)
    large: Pixels = enlarge(tile[None], whole_factor(values.shape))[0]
    return large


def high(values: Values, share: float = 0.995) -> float:
    """The size that all but the greatest few |v| have at most, so that one pixel hides no other."""
    finite = np.abs(values[np.isfinite(values)], dtype=np.float64)
    if not finite.size:
        return 1.0
    limit = float(np.quantile(finite, share)) or float(finite.max())
    return limit or 1.0
