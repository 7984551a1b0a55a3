"""A Figure: a picture made of arrays, with no file and no window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its name and a caption that says what to look for.

    Args:
        name: a file-system-safe noun, such as "confusion".
        caption: one or two sentences.
        pixels: uint8 (H, W, 3).
    """

    name: str
    caption: str
    pixels: Pixels
