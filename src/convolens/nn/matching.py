"""Which object each box stands for, and which boxes are learnt from.

Source: Ren, He, Girshick, Sun (2015), Faster R-CNN, arXiv:1506.01497, section 3.1.2.
"""

import torch
from torch import Tensor

BACKGROUND, NEITHER = -1, -2


def match_boxes(iou: Tensor, *, low: float, high: float, at_least_one: bool = False) -> Tensor:
    """The object that each box overlaps most: where IoU ≥ high it is that object.

    Source: Ren et al. (2015), section 3.1.2.
    Args:
        iou: (M, P), of M objects with P boxes; M and P may be 0.
        low: below it a box is background.
        high: from it on a box is the object's.
        at_least_one: whether the boxes that overlap an object most, ties too, are always
            somebody's: each goes to the object that it overlaps most itself. An object that no box
            overlaps gets none.
    Returns: int64 (P,): the object's index, −1 for background, −2 for neither.
    Example:
        >>> match_boxes(torch.tensor([[0.8, 0.4, 0.1]]), low=0.3, high=0.7).tolist()
        [0, -2, -1]
    """
    if iou.shape[0] == 0:
        return torch.full((iou.shape[1],), BACKGROUND, device=iou.device)
    most, best = iou.max(dim=0)
    match = torch.where(most >= high, best, torch.where(most < low, BACKGROUND, NEITHER))
    if at_least_one and iou.shape[1] > 0:
        top = iou.amax(dim=1, keepdim=True)
        match = torch.where(((iou == top) & (top > 0)).any(dim=0), best, match)
    return match


def part_inside(boxes: Tensor, others: Tensor) -> Tensor:
    """The largest part of each box (P,) that lies in one of the other boxes (M, 4).

    Of a box in a crowd that counts as one object the IoU is small, and this is near 1.
    """
    if len(others) == 0:
        return boxes.new_zeros(len(boxes))
    first = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    last = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (last - first).clamp(min=0).prod(dim=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=-1, keepdim=True)
    return (shared / area.clamp(min=torch.finfo(boxes.dtype).tiny)).amax(dim=1)


def draw_sample(match: Tensor, *, number: int, positive: float) -> tuple[Tensor, Tensor]:
    """Random boxes to learn from: at most a part `positive` of objects, the others background.

    Source: Girshick (2015), arXiv:1504.08083, section 2.3; Ren et al. (2015), section 3.1.3.
    Args:
        match: (P,), as of `match_boxes`; boxes that are neither are not drawn.
        number: how many are drawn, fewer where there are not as many.
        positive: the most objects among them, as a part of `number`.
    Returns: indices of boxes that are objects, and of boxes that are background.
    """
    objects = torch.where(match >= 0)[0]
    ground = torch.where(match == BACKGROUND)[0]
    num_objects = min(len(objects), int(number * positive))
    num_ground = min(len(ground), number - num_objects)
    return _some(objects, num_objects), _some(ground, num_ground)


def _some(indices: Tensor, number: int) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)[:number]]
