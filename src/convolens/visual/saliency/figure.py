"""Saliency maps of one picture, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convolens.errors import ShapeError
from convolens.visual.figure import Figure, Pixels
from convolens.visual.panels import Panel, draw_panels, heat, high, overlay, shown

Kind = Literal["size", "signed", "overlay"]
_COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class SaliencyMap:
    """What one method says of a picture.

    Args:
        title: the method.
        values: (H, W), or (C, H, W) of a method that tells channels apart.
        kind: "size" shows the greatest |v| of the channels; "signed" their sum, blue where it
            speaks against the class; "overlay" the map over the picture, its greatest value 1.
        note: a number that belongs to it.
    """

    title: str
    values: NDArray[np.floating]
    kind: Kind
    note: str = ""


def saliency_figure(picture: Pixels, maps: Sequence[SaliencyMap], class_name: str) -> Figure:
    """Draws a picture and what each method finds in it for a class; each map has its own scale.

    Args:
        picture: uint8, grey or RGB.
        maps: as large as the picture.
        class_name: the class asked about.
    Shape: picture (1 or 3, H, W) -> pixels (h, w, 3)
    Raises:
        ShapeError: when a map is not as large as the picture.
    Example:
        >>> grey = np.zeros((1, 28, 28), np.uint8)
        >>> one = SaliencyMap(title="gradient", values=np.ones((1, 28, 28)), kind="size")
        >>> saliency_figure(grey, [one], "7").name
        'saliency'
    """
    for one in maps:
        if one.values.ndim not in (2, 3) or one.values.shape[-2:] != picture.shape[-2:]:
            raise ShapeError(
                f"the map '{one.title}' must be as large as its picture, "
                f"{'×'.join(map(str, picture.shape[1:]))} px, received {one.values.shape}"
            )
    panels = [Panel(title="picture", pixels=shown(picture))]
    panels += [Panel(title=m.title, pixels=_pixels(picture, m), note=m.note) for m in maps]
    caption = (
        f"What speaks for '{class_name}': strong colour marks the pixels that matter, vermillion "
        "for the class and blue against it. Methods that agree on the object support each other; "
        "a map on the background or the border says that the network looks at the wrong thing."
    )
    heading = f"What speaks for: {class_name}"
    pixels = draw_panels(panels, _COLUMNS, heading)
    return Figure(name="saliency", caption=caption, pixels=pixels)


def _pixels(picture: Pixels, one: SaliencyMap) -> Pixels:
    values = np.asarray(one.values, np.float64)
    if values.ndim == 3:
        values = np.abs(values).max(axis=0) if one.kind == "size" else values.sum(axis=0)
    if one.kind == "overlay":
        return overlay(picture, values / high(values, 1.0))
    return heat(values, high(values))
