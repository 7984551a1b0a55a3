"""Augmentation that moves pictures, masks and boxes together.

As in `augment.py`, all random numbers come from one `torch.Generator` on the CPU, the same count in
the same order for every batch of a size, so a seed decides them whatever the device and the share.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convolens.data.augment import AugmentConfig, Share, augment, to_unit
from convolens.data.placement import VOID
from convolens.data.warp import Padding, fill_values, has_fill, shift_and_flip
from convolens.errors import ConfigError, ShapeError

_GRID_PADDING: dict[Padding, str] = {"zeros": "zeros", "reflect": "reflection", "edge": "border"}

# One random number per picture and name. A new name goes to the end, so that the numbers of the
# others stay where they are.
_DRAWS = (
    *("right", "down", "flip", "vertical_flip", "rotation", "scale", "stretch"),
    *("zoom", "zoom_right", "zoom_down"),
)


class Moved(NamedTuple):
    """What became of a batch: masks and boxes are None where none were given."""

    pixels: Tensor
    masks: Tensor | None
    boxes: Tensor | None
    kept: Tensor | None


class _Move(NamedTuple):
    """p' = A·(p − c) + c + t for every picture, c being its centre."""

    matrix: Tensor  # A, (B, 2, 2), of (x, y)
    offset: Tensor  # t, (B, 2), of (x, y) [px]


def augment_together(
    pixels: Tensor,
    generator: torch.Generator,
    config: AugmentConfig,
    *,
    visible: float = 0.3,
    fill: float | Sequence[float] = 0.0,
    share: Share | None = None,
    flipped: Tensor | None = None,
    masks: Tensor | None = None,
    boxes: Tensor | None = None,
) -> Moved:
    """Moves every picture at random with its mask and its boxes; colours only the picture.

    A picture is flipped, scaled and zoomed about its centre, turned, and shifted, in one sampling.
    A zoom z > 1 shows a random part of the picture, z < 1 puts all of it at a random place.

    Source: the zoom is the crop and the expansion of Liu et al. (2016), SSD, arXiv:1512.02325,
        section 2.2.
    Args:
        pixels: uint8, or float 0..1; on any device.
        generator: on the CPU; gives 10 numbers per picture for moves, and 13 for colours and holes.
        config: what to do and how much; the logarithm of z is drawn uniformly, and the shift is
            measured after the zoom.
        visible: share of a moved box's area that must stay inside the picture for it to be kept.
        fill: 0..1, one value or one per channel, for what comes in from outside and for holes.
        share: which pictures of a larger batch these are; None is all of it.
        flipped: bool (B,); which pictures are flipped. None draws it.
        masks: uint8; sampled at the nearest pixel, 255 where the picture does not reach.
        boxes: float, xyxy; rows of NaN stay NaN.
    Shape: pixels (B, C, H, W), masks (B, H, W), boxes (B, M, 4) -> the same, and kept (B, M)
    Returns: new pictures, 0..1, uint8 becoming float32; masks; boxes around the moved corners,
        clipped to the picture; and which boxes have an area and are visible enough.
    Raises:
        ConfigError: when the configuration does not fit masks or boxes.
        ShapeError: when the tensors do not belong to one batch of pictures.
    Example:
        >>> picture, box = torch.zeros(1, 3, 8, 10), torch.tensor([[[1.0, 2.0, 4.0, 6.0]]])
        >>> config, generator = AugmentConfig(flip=1.0), torch.Generator()
        >>> augment_together(picture, generator, config, boxes=box).boxes
        tensor([[[6., 2., 9., 6.]]])
    """
    check_together(config, with_boxes=boxes is not None)
    _check_shapes(pixels, masks, boxes)
    height, width = pixels.shape[2:]
    if config.moves or zooms(config):
        whole = share or Share(0, len(pixels), len(pixels))
        numbers = whole.of(torch.rand(whole.total, len(_DRAWS), generator=generator))
        draws = dict(zip(_DRAWS, numbers.to(pixels.device).unbind(1), strict=True))
        if flipped is not None:
            draws["flip"] = torch.where(flipped.to(pixels.device), -1.0, 1.0)  # below flip, or not
        move = _drawn_move(draws, config, height, width)
        if config.warps or zooms(config):
            pixels, masks = _sampled(pixels, masks, move, config, fill)
        else:
            pixels, masks = _shifted(pixels, masks, move, config, fill)
        boxes = None if boxes is None else moved_boxes(boxes, move.matrix, move.offset, pixels)
    kept = None
    if boxes is not None:
        boxes, kept = clipped_boxes(boxes, height, width, visible)
    still = replace(
        config,
        shift=0.0,
        flip=0.0,
        alternate=False,
        vertical_flip=0.0,
        rotation=0.0,
        scale=0.0,
        stretch=0.0,
        zoom_out=1.0,
        zoom_in=1.0,
    )
    pixels = augment(pixels, generator, still, fill=fill, share=share)
    return Moved(pixels, masks, boxes, kept)


def zooms(config: AugmentConfig) -> bool:
    """Whether pictures with masks or boxes are zoomed."""
    return (config.zoom_out, config.zoom_in) != (1.0, 1.0)


def check_together(config: AugmentConfig, *, with_boxes: bool = False) -> None:
    """Raises ConfigError when a configuration does not fit masks or boxes."""
    if config.mixes:
        raise ConfigError(
            "mixup and cutmix mix labels of whole pictures; masks and boxes cannot be mixed",
            "Leave augment.mixup and augment.cutmix at 0.",
        )
    if with_boxes and config.padding == "reflect":
        raise ConfigError(
            'padding "reflect" would show mirrored objects without boxes',
            "Use zeros or edge for detection.",
        )


def moved_boxes(boxes: Tensor, matrix: Tensor, offset: Tensor, pixels: Tensor) -> Tensor:
    """The least boxes around the moved corners; not clipped.

    Shape: boxes (B, M, 4), matrix (B, 2, 2), offset (B, 2), pixels (B, C, H, W) -> (B, M, 4)
    """
    centre = boxes.new_tensor([pixels.shape[3] / 2, pixels.shape[2] / 2])
    corners = boxes[..., [0, 1, 2, 1, 0, 3, 2, 3]].view(*boxes.shape[:2], 4, 2)  # x, y of each
    moved = torch.einsum("bij,bmcj->bmci", matrix.to(boxes), corners - centre)
    moved = moved + centre + offset.to(boxes)[:, None, None, :]
    return torch.cat([moved.amin(2), moved.amax(2)], dim=2)


def clipped_boxes(boxes: Tensor, height: int, width: int, visible: float) -> tuple[Tensor, Tensor]:
    """Boxes clipped to the picture, and which of them keep an area and that share of it.

    Shape: boxes (..., 4) -> (..., 4), bool (...)
    """
    limit = boxes.new_tensor([width, height, width, height])
    inside = torch.minimum(boxes.clamp(min=0), limit)
    before, after = _area(boxes), _area(inside)
    return inside, (after > 0) & (after >= visible * before)


def _area(boxes: Tensor) -> Tensor:
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def _drawn_move(draws: dict[str, Tensor], config: AugmentConfig, height: int, width: int) -> _Move:
    flip = torch.where(draws["flip"] < config.flip, -1.0, 1.0)
    upturn = torch.where(draws["vertical_flip"] < config.vertical_flip, -1.0, 1.0)
    least, most = math.log(config.zoom_out), math.log(config.zoom_in)
    zoomed = torch.exp(least + (most - least) * draws["zoom"])
    size = zoomed * (1 + config.scale * _either_side(draws["scale"]))
    # Widths and heights change by √a and 1/√a, so that the area stays.
    slant = torch.exp(math.log1p(config.stretch) / 2 * _either_side(draws["stretch"]))
    angle = torch.deg2rad(config.rotation * _either_side(draws["rotation"]))
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Counter-clockwise as seen, y pointing down.
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    scale = torch.stack([size * slant * flip, size / slant * upturn], 1)
    # As far as the zoomed picture still covers the frame, or lies in it.
    free = (zoomed - 1).abs() / 2
    across = (_whole(draws["right"], config.shift, width), draws["zoom_right"], width)
    along = (_whole(draws["down"], config.shift, height), draws["zoom_down"], height)
    offset = [shift + free * side * _either_side(place) for shift, place, side in (across, along)]
    return _Move(turn * scale[:, None, :], torch.stack(offset, 1))


def _shifted(
    pixels: Tensor,
    masks: Tensor | None,
    move: _Move,
    config: AugmentConfig,
    fill: float | Sequence[float],
) -> tuple[Tensor, Tensor | None]:
    """Flips and whole pixels, where no value is interpolated."""
    right, down = move.offset.long().unbind(1)
    flip, vertical_flip = move.matrix[:, 0, 0] < 0, move.matrix[:, 1, 1] < 0

    def shifted(x: Tensor, ground: float | Sequence[float]) -> Tensor:
        return shift_and_flip(
            x,
            down=down,
            right=right,
            flip=flip,
            vertical_flip=vertical_flip,
            padding=config.padding,
            fill=ground,
        )

    moved = None if masks is None else shifted(masks[:, None], VOID / 255)[:, 0]
    return shifted(pixels, fill), moved


def _sampled(
    pixels: Tensor,
    masks: Tensor | None,
    move: _Move,
    config: AugmentConfig,
    fill: float | Sequence[float],
) -> tuple[Tensor, Tensor | None]:
    """Pictures bilinearly and masks at the nearest pixel, both read at the same places."""
    height, width = pixels.shape[2:]
    places = _places(move, height, width)
    x = to_unit(pixels)
    ground = fill_values(fill, x).float().view(1, -1, 1, 1)
    mode = _GRID_PADDING[config.padding]
    # "zeros" reads 0 outside, so the fill's colour is made the zero for the sampling's time.
    filled = config.padding == "zeros" and has_fill(fill)
    source = x.float() - ground if filled else x.float()
    moved = F.grid_sample(source, places, padding_mode=mode, align_corners=True)
    moved = (moved + ground if filled else moved).to(x.dtype)
    if masks is None:
        return moved, None
    values = masks[:, None].float() - VOID
    nearest = F.grid_sample(values, places, mode="nearest", padding_mode=mode, align_corners=True)
    return moved, (nearest[:, 0] + VOID).round().to(torch.uint8)


def _places(move: _Move, height: int, width: int) -> Tensor:
    """Where each pixel is read, (B, H, W, 2), −1 and 1 being the outermost pixels' centres."""
    device = move.matrix.device
    inverse: Tensor = torch.linalg.inv(move.matrix)
    x = torch.arange(width, device=device) - (width - 1) / 2 - move.offset[:, :1]
    y = torch.arange(height, device=device) - (height - 1) / 2 - move.offset[:, 1:]
    half = torch.tensor([max(width - 1, 1) / 2, max(height - 1, 1) / 2], device=device)
    inverse = inverse / half[:, None]
    along_x = inverse[:, None, None, :, 0] * x[:, None, :, None]
    return along_x + inverse[:, None, None, :, 1] * y[:, :, None, None]


def _either_side(number: Tensor) -> Tensor:
    """From [0, 1) to [−1, 1)."""
    return 2 * number - 1


def _whole(number: Tensor, fraction: float, length: int) -> Tensor:
    """A whole number of pixels, each from −m to m equally likely, m = fraction·length."""
    most = min(round(fraction * length), length - 1)
    return (number * (2 * most + 1)).floor().clamp(max=2 * most) - most


def _check_shapes(pixels: Tensor, masks: Tensor | None, boxes: Tensor | None) -> None:
    if pixels.ndim != 4:
        raise ShapeError(f"pixels must have shape (B, C, H, W), received {tuple(pixels.shape)}")
    expected = (len(pixels), *pixels.shape[2:])
    if masks is not None and (masks.dtype != torch.uint8 or tuple(masks.shape) != expected):
        raise ShapeError(
            f"masks must be uint8 of shape {expected}, "
            f"received {masks.dtype} of shape {tuple(masks.shape)}"
        )
    if boxes is not None and (boxes.ndim != 3 or len(boxes) != len(pixels) or boxes.shape[2] != 4):
        raise ShapeError(
            f"boxes must have shape ({len(pixels)}, M, 4), received {tuple(boxes.shape)}"
        )
