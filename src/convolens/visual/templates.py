"""What single units of a network's first layer look for, written as pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.filters import MOST_TILES, Weights, filter_sheet, scale_limit
from convolens.visual.style import BODY_PX, MARGIN_PX, PAPER, SMALL_PX, SOFT
from convolens.visual.text import measure, write
from convolens.visual.tiles import square_columns

_TITLE_ROW_PX = 56
_NOTE_ROW_PX = 50


def templates(sets: Mapping[str, Weights]) -> Figure:
    """Draws the weights of first layers side by side: grey is 0, black −max |w|, white max |w|.

    The weights of a linear classifier, and of the units of a fully connected layer, are as large as
    the picture; those of a convolution are small. Each set has a scale of its own.

    Args:
        sets: weights by title; see `as_pictures` for those of a linear layer.
    Shape: (O, 1 or 3, H, W) each -> pixels (h, w, 3)
    Raises:
        ShapeError: when there is none, or weights have another shape.
    Example:
        >>> linear = as_pictures(np.ones((10, 784)), (1, 28, 28))
        >>> templates({"linear": linear, "ConvNet": np.ones((8, 1, 5, 5))}).caption[:49]
        'Weights of linear (10 of 28×28) and ConvNet (8 of'
    """
    if not sets:
        raise ShapeError("templates need at least one set of weights, received none")
    for title, weights in sets.items():
        if weights.ndim != 4 or weights.shape[1] not in (1, 3) or weights.size == 0:
            raise ShapeError(
                f"the weights of '{title}' must have shape (O, 1 or 3, H, W), none of them 0, "
                f"received {weights.shape}"
            )
    sheets, notes = [], []
    for weights in sets.values():
        part = weights[:MOST_TILES]
        limit = scale_limit([part])
        sheets.append(filter_sheet(part, limit, square_columns(len(part))))
        notes.append(f"-{limit:.3g} black, 0 grey, {limit:.3g} white")
    listed = " and ".join(
        f"{title} ({len(w)} of {w.shape[2]}×{w.shape[3]})" for title, w in sets.items()
    )
    caption = (
        f"Weights of {listed}. A template as large as the picture looks like a blurred mean of its "
        "class and fits one place only; a filter of a ConvNet is a small edge or spot that is "
        "looked for everywhere."
    )
    return Figure(name="templates", caption=caption, pixels=_draw(list(sets), sheets, notes))


def as_pictures(weights: Weights, input_size: tuple[int, int, int]) -> Weights:
    """The weights of a linear layer on a flattened picture, a picture for each unit.

    Shape: (O, C·H·W) -> (O, C, H, W)
    Raises:
        ShapeError: when the layer does not read that many pixels.
    """
    channels, height, width = input_size
    if weights.ndim != 2 or weights.shape[1] != channels * height * width:
        raise ShapeError(
            f"the weights must have shape (O, {channels}·{height}·{width} = "
            f"{channels * height * width}), received {weights.shape}"
        )
    return weights.reshape(len(weights), *input_size)


def _draw(titles: Sequence[str], sheets: Sequence[Pixels], notes: Sequence[str]) -> Pixels:
    widths = [
        max(pixels.shape[1], int(measure(title, BODY_PX)), int(measure(note, SMALL_PX)))
        for title, pixels, note in zip(titles, sheets, notes, strict=True)
    ]
    height = max(pixels.shape[0] for pixels in sheets)
    down = MARGIN_PX + _TITLE_ROW_PX + height + _NOTE_ROW_PX + MARGIN_PX // 2
    image = Image.new("RGB", (sum(widths) + (len(widths) + 1) * MARGIN_PX, down), PAPER)
    left = MARGIN_PX
    for title, pixels, note, width in zip(titles, sheets, notes, widths, strict=True):
        write(image, (left, MARGIN_PX), title, size=BODY_PX)
        top = MARGIN_PX // 2 + _TITLE_ROW_PX
        image.paste(Image.fromarray(pixels), (left, top))
        at = (left, top + pixels.shape[0] + _NOTE_ROW_PX / 2)
        write(image, at, note, size=SMALL_PX, colour=SOFT)
        left += width + MARGIN_PX
    return np.asarray(image)
