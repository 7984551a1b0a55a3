"""A Figure: a picture made of arrays, with no file and no window."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convolens.errors import ShapeError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its name and a caption that says what to look for.

    Args:
        name: a file-system-safe noun, such as "confusion".
        caption: one or two sentences.
        pixels: uint8 (H, W, 3).
    Raises:
        ShapeError: when `pixels` is not uint8 of shape (H, W, 3).
    """

    name: str
    caption: str
    pixels: Pixels

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ShapeError(
                f"the pixels of figure '{self.name}' must be uint8 of shape (H, W, 3), "
                f"received {pixels.dtype} of shape {pixels.shape}"
            )


def png_bytes(figure: Figure) -> bytes:
    """Encodes a Figure as PNG, without a file.

    Example:
        >>> png_bytes(Figure(name="dot", caption="", pixels=np.zeros((1, 1, 3), np.uint8)))[1:4]
        b'PNG'
    """
    buffer = BytesIO()
    Image.fromarray(figure.pixels).save(buffer, "PNG")
    return buffer.getvalue()
