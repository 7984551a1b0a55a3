"""Where a picture stands once it is fitted, for all that is measured in its pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convolens.data.picture import PictureFormat, fitted_areas

VOID = 255  # in a mask: belongs to no class, and counts for nothing


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The map from a picture's own pixels to those of its fitted form: x' = x · scale + offset.

    Coordinates are continuous: pixel 0 reaches from 0 to 1.

    Args:
        original: (h, w) of the picture [px].
        size: (H, W) of its fitted form [px].
        scale: (vertical, horizontal).
        top, left: where the picture's upper left corner comes to stand [px]; negative where a part
            is cut off.
    """

    original: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, float]
    top: float
    left: float

    def boxes_in(self, boxes: Tensor) -> Tensor:
        """Boxes of the picture as boxes of its fitted form; none is clipped.

        Shape: xyxy (..., 4) -> (..., 4), of the same type
        """
        scale, offset = self._corners()
        return (boxes.double() * scale + offset).to(boxes.dtype)

    def boxes_out(self, boxes: Tensor) -> Tensor:
        """Boxes of the fitted form as boxes of the picture, the inverse of `boxes_in`.

        Shape: xyxy (..., 4) -> (..., 4), of the same type
        """
        scale, offset = self._corners()
        return ((boxes.double() - offset) / scale).to(boxes.dtype)

    def masks_in(self, masks: Tensor) -> Tensor:
        """Masks of the picture as masks of its fitted form, each pixel the nearest; 255 around.

        Shape: (..., h, w) -> (..., H, W)
        """
        rows = _nearest(self.size[0], 1 / self.scale[0], -self.top / self.scale[0])
        cols = _nearest(self.size[1], 1 / self.scale[1], -self.left / self.scale[1])
        return _gather(masks, rows, cols)

    def masks_out(self, masks: Tensor) -> Tensor:
        """Masks of the fitted form as masks of the picture; 255 where that was cut off.

        Shape: (..., H, W) -> (..., h, w)
        """
        rows = _nearest(self.original[0], self.scale[0], self.top)
        cols = _nearest(self.original[1], self.scale[1], self.left)
        return _gather(masks, rows, cols)

    def _corners(self) -> tuple[Tensor, Tensor]:
        (sy, sx), offset = self.scale, [self.left, self.top] * 2
        return torch.tensor([sx, sy] * 2, dtype=torch.float64), torch.tensor(
            offset, dtype=torch.float64
        )


def placement_of(original_size: tuple[int, int], format: PictureFormat) -> Placement:
    """Where `fit_picture` puts a picture of this size.

    Args:
        original_size: (h, w) [px], upright.
    Example:
        >>> place = placement_of((480, 640), PictureFormat(channels=3, size=(256, 320), fit="pad"))
        >>> place.boxes_in(torch.tensor([[0.0, 0.0, 640.0, 480.0]])).tolist()
        [[0.0, 8.0, 320.0, 248.0]]
    """
    cut, place = fitted_areas(original_size, format)
    scale = (place[2] / cut[2], place[3] / cut[3])
    return Placement(
        original=original_size,
        size=format.size,
        scale=scale,
        top=place[0] - cut[0] * scale[0],
        left=place[1] - cut[1] * scale[1],
    )


def _nearest(count: int, scale: float, offset: float) -> Tensor:
    """For each of `count` pixels the pixel that its middle lies in: ⌊(i + ½) · scale + offset⌋."""
    middles = torch.arange(count, dtype=torch.float64) + 0.5
    return (middles * scale + offset).floor().long()


def _gather(masks: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    h, w = masks.shape[-2:]
    rows, cols = rows.to(masks.device), cols.to(masks.device)
    found = masks[..., rows.clamp(0, h - 1)[:, None], cols.clamp(0, w - 1)]
    outside = ((rows < 0) | (rows >= h))[:, None] | ((cols < 0) | (cols >= w))
    return found.masked_fill(outside, VOID)
