"""Moving the pixels of a whole batch: shifts, flips, holes and affine maps, given the numbers."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from convolens.errors import ConfigError

Padding = Literal["zeros", "reflect", "edge"]

# F.grid_sample's words for the same three; with align_corners its reflection leaves the edge
# pixel out, as `shift_and_flip` does.
_GRID_PADDING = {"zeros": "zeros", "reflect": "reflection", "edge": "border"}

# From this area on, copying picture by picture is faster than one gather over the batch.
_WORTH_COPIES_PX = 48 * 48


def shift_and_flip(
    pixels: Tensor,
    *,
    down: Tensor,
    right: Tensor,
    flip: Tensor,
    vertical_flip: Tensor,
    padding: Padding = "zeros",
    fill: float | Sequence[float] = 0.0,
) -> Tensor:
    """Flips each picture, then moves it by whole pixels: out[y, x] = flipped[y − down, x − right].

    Everything is one index per output pixel and one gather, or one copy of rows where that is
    faster, so no value is interpolated.

    Args:
        pixels: uint8 or float.
        down: int64, |down| < H [px].
        right: int64, |right| < W [px].
        flip: bool; True swaps left and right.
        vertical_flip: bool; True swaps top and bottom.
        padding: what comes in from outside: "zeros" the value `fill`, "reflect" the picture
            mirrored at its edge pixel, "edge" the edge pixel repeated.
        fill: 0..1, one value or one per channel.
    Shape:   pixels (B, C, H, W), the others (B,) -> (B, C, H, W)
    Returns: the moved pictures, in the dtype of `pixels`.
    """
    batch, channels, height, width = pixels.shape
    area = height * width
    on_cpu = pixels.device.type == "cpu" and pixels.dtype in (torch.uint8, torch.float32)
    if on_cpu and padding == "zeros" and area >= _WORTH_COPIES_PX:
        colour = fill_values(fill, pixels).view(channels, 1, 1).numpy()
        return _copied(pixels, colour, down, right, flip, vertical_flip)
    # Positions outside become `area` or more: one more pixel, of the fill's colour, stands there.
    outside = area if padding == "zeros" else None
    rows = _source(height, down, vertical_flip, padding, step=width, outside=outside)
    columns = _source(width, right, flip, padding, step=1, outside=outside)
    index = rows[:, :, None] + columns[:, None, :]
    flat = pixels.reshape(batch, channels, area)
    if outside is not None:
        ground = fill_values(fill, pixels).view(1, channels, 1).expand(batch, channels, 1)
        flat = torch.cat([flat, ground], dim=2)
        index.clamp_(max=outside)
    index = index.view(batch, 1, area).expand(batch, channels, area)
    return flat.gather(2, index).view(batch, channels, height, width)


def warp(
    pixels: Tensor,
    *,
    degrees: Tensor,
    widen: Tensor,
    heighten: Tensor,
    down: Tensor,
    right: Tensor,
    padding: Padding = "zeros",
    fill: float | Sequence[float] = 0.0,
) -> Tensor:
    """Scales each picture about its centre, turns it, then moves it; one bilinear sampling.

    Args:
        pixels: float.
        degrees: the turn, counter-clockwise as seen [°].
        widen: factor on the width; 2 doubles it, a negative factor flips as well; not 0.
        heighten: factor on the height; not 0.
        down, right: the move, afterwards [px].
        padding, fill: what comes in from outside, as in `shift_and_flip`.
    Shape:   pixels (B, C, H, W), the others (B,) -> (B, C, H, W)
    Returns: the warped pictures, in the dtype of `pixels`.
    """
    _, channels, height, width = pixels.shape
    angle = torch.deg2rad(degrees)
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    # The source of each output pixel: undo the move, then the turn, then the scale.
    x = torch.arange(width, device=pixels.device) - (width - 1) / 2 - right[:, None]
    y = torch.arange(height, device=pixels.device) - (height - 1) / 2 - down[:, None]
    # From pixels to F.grid_sample's unit, where the outermost pixel centres are at −1 and 1.
    across = widen[:, None] * max(width - 1, 1) / 2
    along = heighten[:, None] * max(height - 1, 1) / 2
    source_x = (cos / across * x)[:, None, :] - (sin / across * y)[:, :, None]
    source_y = (sin / along * x)[:, None, :] + (cos / along * y)[:, :, None]
    grid = torch.stack([source_x, source_y], dim=3)
    ground = fill_values(fill, pixels).float().view(1, channels, 1, 1)
    # "zeros" reads 0 outside, so the fill's colour is made the zero for the sampling's time.
    filled = padding == "zeros" and has_fill(fill)
    source = pixels.float() - ground if filled else pixels.float()
    warped = F.grid_sample(source, grid, padding_mode=_GRID_PADDING[padding], align_corners=True)
    return (warped + ground if filled else warped).to(pixels.dtype)


def cut_hole_(
    pixels: Tensor,
    *,
    row: Tensor,
    column: Tensor,
    side: int,
    fill: float | Sequence[float] = 0.0,
) -> Tensor:
    """Overwrites a square of each picture, in place; at the border the square is clipped.

    Source: DeVries and Taylor (2017), cutout, arXiv:1708.04552.
    Args:
        pixels: uint8 or float.
        row, column: int64, the middle pixel of the square, inside the picture [px].
        side: at least 1 [px].
        fill: 0..1, one value or one per channel.
    Shape:   pixels (B, C, H, W), row and column (B,) -> (B, C, H, W)
    Returns: `pixels`.
    """
    batch, _, height, width = pixels.shape
    reach = torch.arange(side, device=row.device) - side // 2
    # The square holds its middle, so a row beyond the border may stand for the border's own row.
    rows = (row[:, None] + reach).clamp_(0, height - 1)
    columns = (column[:, None] + reach).clamp_(0, width - 1)
    picture = torch.arange(batch, device=row.device)[:, None, None]
    pixels[picture, :, rows[:, :, None], columns[:, None, :]] = fill_values(fill, pixels)
    return pixels


def rectangle(height: int, width: int, *, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of one rectangle per picture, as bool (B, 1, height, width)."""
    y = torch.arange(height, device=rows.device)
    x = torch.arange(width, device=columns.device)
    in_rows = (y >= rows[:, :1]) & (y < rows[:, 1:])
    in_columns = (x >= columns[:, :1]) & (x < columns[:, 1:])
    return (in_rows[:, :, None] & in_columns[:, None, :]).unsqueeze(1)


def has_fill(fill: float | Sequence[float]) -> bool:
    """Whether the fill differs from black."""
    return bool(fill) if isinstance(fill, int | float) else any(fill)


def fill_values(fill: float | Sequence[float], pixels: Tensor) -> Tensor:
    """The fill (0..1) as one value per channel, in the dtype and range of the pictures."""
    channels = pixels.shape[1]
    values = [float(fill)] * channels if isinstance(fill, int | float) else list(fill)
    if len(values) != channels or not all(0 <= value <= 1 for value in values):
        raise ConfigError(
            f"fill must be one value from 0 to 1 or one per channel ({channels}), received {fill}"
        )
    if pixels.dtype == torch.uint8:
        values = [round(255 * value) for value in values]
    return torch.tensor(values, dtype=pixels.dtype, device=pixels.device)


def _copied(
    pixels: Tensor,
    ground: NDArray[Any],
    down: Tensor,
    right: Tensor,
    flip: Tensor,
    vertical_flip: Tensor,
) -> Tensor:
    """Does what `shift_and_flip` does by one copy per picture, which runs along whole rows."""
    height, width = pixels.shape[2:]
    moves = zip(*(t.tolist() for t in (down, right, flip, vertical_flip)), strict=True)
    moved = np.empty(pixels.shape, pixels.numpy().dtype)
    for target, source, (y, x, mirrored, upturned) in zip(
        moved, pixels.numpy(), moves, strict=True
    ):
        turned = source[:, :: -1 if upturned else 1, :: -1 if mirrored else 1]
        top, bottom = max(y, 0), height + min(y, 0)
        left, right_end = max(x, 0), width + min(x, 0)
        target[:, :top] = target[:, bottom:] = ground
        target[:, top:bottom, :left] = target[:, top:bottom, right_end:] = ground
        target[:, top:bottom, left:right_end] = turned[
            :, top - y : bottom - y, left - x : right_end - x
        ]
    return torch.from_numpy(moved)


def _source(
    length: int, shift: Tensor, flip: Tensor, padding: Padding, *, step: int, outside: int | None
) -> Tensor:
    """Where each output position of one axis is read, (B, length), times the axis's step."""
    last = length - 1
    index = torch.arange(length, device=shift.device) - shift[:, None]
    beyond = (index < 0) | (index > last)
    if padding == "reflect":
        index = last - (last - index.abs()).abs()
    index = index.clamp(0, last)
    index = torch.where(flip[:, None], last - index, index) * step
    return index if outside is None else index.masked_fill_(beyond, outside)
