"""Label maps as pictures: a palette, an overlay on the picture, a PNG of labels, a legend."""

from collections.abc import Sequence
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convolens.data.placement import VOID
from convolens.errors import ShapeError
from convolens.visual.figure import Pixels
from convolens.visual.style import FRAME, PAPER, SMALL_PX, SOFT, Colour
from convolens.visual.text import class_labels, measure, shorten, write

MOST_CLASSES = 255
_VOID_COLOUR: Colour = (0, 0, 0)
_BACKGROUND_COLOUR: Colour = (96, 96, 96)
_BACKGROUND_NAMES = frozenset({"background", "__background__"})
# Okabe and Ito (2008), "Color Universal Design", without black; all further colours keep away from
# these and from one another.
_FIRST: tuple[Colour, ...] = (
    *((0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0)),
    *((86, 180, 233), (204, 121, 167), (240, 228, 66)),
)
_STRENGTH = 0.55  # of a colour over the picture, so that it shines through
_SQUARE_PX = 22
_ROW_PX = 36
_GAP_PX = 28
_LABEL_PX = 220

Labels = NDArray[np.integer]
Colours = NDArray[np.uint8]


def class_colours(class_names: Sequence[str], given: Sequence[Colour] = ()) -> Colours:
    """A colour for each class: those given, else a palette in which a background is grey.

    Shape: -> (K, 3)
    Raises:
        ShapeError: when there are other numbers of names and colours.
    Example:
        >>> class_colours(["background", "cat"]).tolist()
        [[96, 96, 96], [0, 114, 178]]
    """
    if given:
        if len(given) != len(class_names):
            raise ShapeError(
                f"colours must be one for each of {len(class_names)} classes, received {len(given)}"
            )
        return np.array(given, np.uint8)
    colours, free = [], iter(palette(len(class_names)))
    for name in class_names:
        is_ground = name.lower() in _BACKGROUND_NAMES
        colours.append(np.array(_BACKGROUND_COLOUR) if is_ground else next(free))
    return np.array(colours, np.uint8).reshape(-1, 3)


def palette(count: int) -> Colours:
    """Up to 256 colours, each as far as can be from those before it.

    Distances are those of CIELAB, where equal ones look equally large. The first n colours are
    the same whatever the count.

    Shape: -> (count, 3)
    Raises:
        ShapeError: when there are more than 256.
    Example:
        >>> palette(2).tolist()
        [[0, 114, 178], [230, 159, 0]]
    """
    if not 0 <= count <= VOID + 1:
        raise ShapeError(f"a palette has up to {VOID + 1} colours, received {count}")
    return _every_colour()[:count].copy()


@cache
def _every_colour() -> Colours:
    steps = np.arange(15, 256, 24)
    choices = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _lab(choices)
    far = np.full(len(choices), np.inf)
    chosen = list(_FIRST)
    # Black is void and white the paper.
    for colour in (*chosen, (0, 0, 0), (255, 255, 255)):
        far = np.minimum(far, np.linalg.norm(lab - _lab(np.array([colour])), axis=1))
    while len(chosen) <= VOID:
        place = int(far.argmax())
        chosen.append(tuple(choices[place].tolist()))
        far = np.minimum(far, np.linalg.norm(lab - lab[place], axis=1))
    return np.array(chosen, np.uint8)


def _lab(colours: NDArray[np.integer]) -> NDArray[np.float64]:
    """sRGB to CIELAB, white D65."""
    part = colours / 255.0
    linear = np.where(part > 0.04045, ((part + 0.055) / 1.055) ** 2.4, part / 12.92)
    to_xyz = np.array(
        [
            *([0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]),
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lightness, a, b = 116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])
    return np.stack([lightness, a, b], axis=1)


def painted(labels: Labels, colours: Colours) -> Pixels:
    """The label map in colours alone; void is black.

    Shape: labels (H, W), colours (K, 3) -> (H, W, 3)
    Raises:
        ShapeError: when labels are no map, or there are more than colours.
    """
    return _table(labels, colours)[labels]


def overlaid(
    picture: Pixels, labels: Labels, colours: Colours, *, strength: float = _STRENGTH
) -> Pixels:
    """The picture with each class's colour laid over it, the border of each region at full colour.

    Void pixels stay as they are in the picture.

    Args:
        picture: grey or RGB.
        labels: 0 to K − 1, and 255 for void.
        strength: share of the colour, 0 to 1.
    Shape: picture (1 or 3, H, W), labels (H, W), colours (K, 3) -> (H, W, 3)
    Raises:
        ShapeError: when sizes differ or a label has no colour.
    """
    if picture.ndim != 3 or picture.shape[0] not in (1, 3) or picture.shape[1:] != labels.shape:
        raise ShapeError(
            f"a picture of shape (1 or 3, H, W) and labels (H, W) must be of one size, "
            f"received {picture.shape} and {labels.shape}"
        )
    base = np.broadcast_to(picture, (3, *labels.shape)).transpose(1, 2, 0).astype(np.float64)
    share = np.where(_borders(labels), 1.0, strength)
    share = np.where(labels == VOID, 0.0, share)[..., None]
    mixed = base * (1 - share) + _table(labels, colours)[labels] * share
    tile: Pixels = np.rint(mixed).astype(np.uint8)
    return tile


def label_png(labels: Labels, colours: Colours) -> bytes:
    """The label map as PNG: one channel whose values are the labels, with the colours as palette.

    Shape: labels (H, W), colours (K, 3)
    Raises:
        ShapeError: when labels are no map, or there are more than colours.
    """
    table = _table(labels, colours)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(table.flatten().tolist())
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def legend(
    class_names: Sequence[str],
    colours: Colours,
    *,
    notes: Sequence[str] = (),
    width: int = 800,
) -> Pixels:
    """A coloured square and a name for each class, in as many columns as fit the width.

    Args:
        notes: a word after each name, such as its share of the pixels.
    Shape: -> (H, width, 3)
    """
    names = class_labels(class_names)
    words = [f"{n}  {note}" for n, note in zip(names, notes, strict=True)] if notes else names
    widest = max((measure(word, SMALL_PX) for word in words), default=0)
    cell = _SQUARE_PX + 12 + min(_LABEL_PX, int(widest) + 2)
    columns = max(1, min(len(words), (width + _GAP_PX) // (cell + _GAP_PX)))
    rows = -(-len(words) // columns)
    image = Image.new("RGB", (width, max(1, rows) * _ROW_PX), PAPER)
    draw = ImageDraw.Draw(image)
    for place, (word, colour) in enumerate(zip(words, colours, strict=True)):
        column, row = divmod(place, max(1, rows))
        x, y = column * (cell + _GAP_PX), row * _ROW_PX + (_ROW_PX - _SQUARE_PX) // 2
        box = (x, y, x + _SQUARE_PX - 1, y + _SQUARE_PX - 1)
        draw.rectangle(box, fill=tuple(colour.tolist()), outline=FRAME)
        at = (x + _SQUARE_PX + 12, y + _SQUARE_PX / 2)
        write(image, at, shorten(word, SMALL_PX, _LABEL_PX), size=SMALL_PX, colour=SOFT)
    return np.asarray(image)


def _borders(labels: Labels) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is of another class."""
    found = np.zeros(labels.shape, bool)
    found[:-1] |= labels[:-1] != labels[1:]
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return found


def _table(labels: Labels, colours: Colours) -> Colours:
    """The colour of each value of a label map, (256, 3)."""
    if labels.ndim != 2 or colours.ndim != 2 or colours.shape[1:] != (3,):
        raise ShapeError(
            f"labels must have shape (H, W) and colours (K, 3), "
            f"received {labels.shape} and {colours.shape}"
        )
    strange = labels[(labels != VOID) & ((labels < 0) | (labels >= len(colours)))]
    if strange.size:
        raise ShapeError(
            f"a label must be from 0 to {len(colours) - 1}, or {VOID} for void; "
            f"received {strange[0]}"
        )
    table = np.full((VOID + 1, 3), _VOID_COLOUR, np.uint8)
    known = min(len(colours), MOST_CLASSES)
    table[:known] = colours[:known]
    return table
