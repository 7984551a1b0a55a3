"""Pictures as people have them, made into the arrays that a network reads."""

from dataclasses import dataclass
from typing import Literal

Fit = Literal["crop", "pad", "stretch"]


@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """How a picture of any size and colour becomes an array (C, H, W).

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (H, W) [px].
        fit: "crop" scales the picture until it covers the size and cuts the centre out; "pad"
            scales it until it fits inside and fills the rest; "stretch" ignores its proportions.
        background: for ink on an even ground (digits, letters), the grey value of that ground;
            None for photographs.
    """

    channels: int
    size: tuple[int, int]
    fit: Fit = "crop"
    background: int | None = None
