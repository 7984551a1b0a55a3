"""How much boxes overlap: intersection over union, and its generalization to boxes apart.

Boxes are xyxy, the second corner after the last pixel. A box without area overlaps nothing.
"""

import torch
from torch import Tensor

SMALLEST = 1e-9  # instead of a division by an area of zero


def area(boxes: Tensor) -> Tensor:
    """Width times height; 0 where a corner is swapped.

    Shape: boxes (…, 4) -> (…)
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    start = torch.maximum(a[..., :2], b[..., :2])
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - start).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, |A ∩ B| / |A ∪ B|, of boxes side by side.

    Shape: a (…, 4), b (…, 4), which broadcast -> (…)
    Example:
        >>> iou(torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2]))
        tensor(0.3333)
    """
    both = _intersection(a, b)
    return both / (area(a) + area(b) - both).clamp(min=SMALLEST)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of a with every box of b.

    Shape: a (…, M, 4), b (…, P, 4) -> (…, M, P)
    """
    return iou(a[..., :, None, :], b[..., None, :, :])


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU − |C \\ (A ∪ B)| / |C|, where C is the smallest box around both; from −1 to 1.

    Boxes apart have a gradient too, which draws them together.

    Source: Rezatofighi et al. (2019), Generalized intersection over union, arXiv:1902.09630.
    Shape: a (…, 4), b (…, 4), which broadcast -> (…)
    Example:
        >>> generalized_iou(torch.tensor([0.0, 0, 1, 1]), torch.tensor([3.0, 0, 4, 1]))
        tensor(-0.5000)
    """
    both = _intersection(a, b)
    union = area(a) + area(b) - both
    corners = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    around = area(torch.cat(corners, dim=-1)).clamp(min=SMALLEST)
    return both / union.clamp(min=SMALLEST) - (around - union) / around
