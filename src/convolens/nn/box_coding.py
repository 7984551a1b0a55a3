"""A box as its offset from another box, which is what detectors regress.

Source: Girshick, Donahue, Darrell, Malik (2014), arXiv:1311.2524, appendix C.
"""

import math

import torch
from torch import Tensor

Weights = tuple[float, float, float, float]
PLAIN: Weights = (1.0, 1.0, 1.0, 1.0)
# One over the targets' usual deviation: Fast R-CNN's targets are normalised to unit variance.
REGION: Weights = (10.0, 10.0, 5.0, 5.0)
LARGEST_LOG_SCALE = math.log(1000 / 16)  # keeps exp() finite before training has begun


def encode_boxes(boxes: Tensor, anchors: Tensor, weights: Weights = PLAIN) -> Tensor:
    """t = (w_x (x − x_a) / w_a, w_y (y − y_a) / h_a, w_w log(w / w_a), w_h log(h / h_a)).

    Source: Girshick et al. (2014), equations 6 to 9; x and y are centres.
    Args:
        boxes: (…, 4), xyxy, of positive width and height.
        anchors: (…, 4), xyxy, of positive width and height.
        weights: of the four parts.
    Returns: (…, 4).
    Example:
        >>> encode_boxes(torch.tensor([[2.0, 0, 6, 4]]), torch.tensor([[0.0, 0, 4, 4]])).tolist()
        [[0.5, 0.0, 0.0, 0.0]]
    """
    centre, size = _centre_and_size(boxes)
    anchor_centre, anchor_size = _centre_and_size(anchors)
    parts = torch.cat(((centre - anchor_centre) / anchor_size, (size / anchor_size).log()), dim=-1)
    return parts * parts.new_tensor(weights)


def decode_boxes(offsets: Tensor, anchors: Tensor, weights: Weights = PLAIN) -> Tensor:
    """The boxes that lie at some offsets from anchors: the inverse of `encode_boxes`.

    Source: Girshick et al. (2014), equations 1 to 4.
    Args:
        offsets: (…, 4); those of size are limited to log(1000 / 16).
        anchors: (…, 4), xyxy; broadcast against the offsets.
        weights: of the four parts.
    Returns: float32 (…, 4), xyxy.
    """
    parts = offsets.float() / torch.tensor(weights, device=offsets.device)
    centre, size = _centre_and_size(anchors)
    centre = centre + parts[..., :2] * size
    half = 0.5 * size * parts[..., 2:].clamp(max=LARGEST_LOG_SCALE).exp()
    return torch.cat((centre - half, centre + half), dim=-1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The parts of boxes (…, 4) that lie in a picture of size (H, W)."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x, y), dim=-1).flatten(-2)


def is_a_box(boxes: Tensor, *, least: float = 0.0) -> Tensor:
    """Whether each of (…, 4) is finite and has sides longer than `least` [px], corners in order."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides > least).all(dim=-1) & boxes.isfinite().all(dim=-1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    first, last = boxes[..., :2], boxes[..., 2:]
    return 0.5 * (first + last), last - first
