"""What single units of a network's first layer look for, written as pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.filters import MOST_TILES, Weights, filter_sheet, scale_limit
from convolens.visual.style import BODY_PX, MARGIN_PX, PAPER, SMALL_PX, SOFT
from convolens.visual.text import measure, write
from convolens.visual.tiles import square_columns

_RIDGE = 5.0  # with less, a template of photographs is noise
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


def linear_classifier(pictures: Pixels, labels: NDArray[np.integer], num_classes: int) -> Weights:
    """The weights of the linear classifier of least squares, W = (Y − ȳ)ᵀ (XXᵀ + λI)⁻¹ X.

    Args:
        pictures: what it learns from; Y are their labels as one-hot rows, X their pixels, both
            less their means, and λ five times the mean of the diagonal of XXᵀ.
    Shape: pictures (N, C, H, W), labels (N,) -> (K, C, H, W)
    Raises:
        ShapeError: when there is no picture, or not one label for each.
    Example:
        >>> black_and_white = np.array([[[[0]]], [[[255]]]], np.uint8)
        >>> linear_classifier(black_and_white, np.array([0, 1]), 2).ravel().tolist()
        [-0.25, 0.25]
    """
    count = len(pictures)
    if pictures.ndim != 4 or not count or labels.shape != (count,):
        raise ShapeError(
            "a linear classifier needs pictures (N, C, H, W) and a label for each, received "
            f"{pictures.shape} and {labels.shape}"
        )
    x = pictures.reshape(count, -1).astype(np.float64) / 255
    x -= x.mean(0)
    y = np.eye(num_classes)[labels]
    gram = x @ x.T  # there are fewer pictures than pixels
    ridge = _RIDGE * float(np.trace(gram) / count) or 1.0
    dual = np.linalg.solve(gram + ridge * np.eye(count), y - y.mean(0))
    weights: Weights = (dual.T @ x).reshape(num_classes, *pictures.shape[1:])
    return weights


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
