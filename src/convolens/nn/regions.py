"""What the R-CNN family shares: regions to learn from, their loss, and the detections they give.

Source: Girshick (2015), Fast R-CNN, arXiv:1504.08083, section 2.3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convolens.nn.box_coding import REGION, clip_boxes, decode_boxes, encode_boxes, is_a_box
from convolens.nn.matching import NEITHER, draw_sample, match_boxes, part_inside
from convolens.nn.objects import Objects

MOST_CANDIDATES = 3000  # boxes of a picture that take part in non-maximum suppression


class Regions(NamedTuple):
    """Regions of a batch that are learnt from.

    Args:
        boxes: one (S_i, 4) for each picture, xyxy [px].
        labels: (S,) of all pictures; num_classes for background.
        offsets: (S, 4), from the region to its object; zeros for background.
        share: (S,), what each counts: 1 / (regions of its picture · pictures).
    """

    boxes: list[Tensor]
    labels: Tensor
    offsets: Tensor
    share: Tensor


def objects_to_find(targets: Objects, row: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Boxes and labels of a picture's objects, clipped to it, and boxes that do not count.

    A box without area in the picture, or with swapped corners, is no object.
    """
    boxes, labels, ignore = targets.of_picture(row)
    boxes = clip_boxes(boxes, size)
    there = is_a_box(boxes)
    return boxes[there & ~ignore], labels[there & ~ignore], boxes[there & ignore]


def sample_regions(
    proposals: Sequence[Tensor],
    targets: Objects,
    size: tuple[int, int],
    *,
    num_classes: int,
    number: int,
    positive: float = 0.25,
    foreground: float = 0.5,
    least: float = 0.0,
) -> Regions:
    """Draws regions of every picture from its proposals and its objects' own boxes.

    Source: Girshick (2015), section 2.3.
    Args:
        proposals: (P_i, 4) of each picture; P_i may be 0.
        targets: the objects.
        size: (H, W) of the pictures.
        num_classes: also the label of background.
        number: regions drawn of each picture.
        positive: the most of them that are objects, as a part.
        foreground: least IoU with an object to be one.
        least: least IoU with an object to be background; 0.1 in Fast R-CNN.
    """
    from torchvision.ops import box_iou  # two seconds to import

    drawn, labels, offsets, share = [], [], [], []
    for row, own in enumerate(proposals):
        boxes, names, void = objects_to_find(targets, row, size)
        regions = torch.cat((own, boxes))
        iou = box_iou(boxes, regions)
        match = match_boxes(iou, low=foreground, high=foreground)
        if least > 0 and len(boxes):
            match[iou.amax(dim=0) < least] = NEITHER
        match[(match < 0) & (part_inside(regions, void) > 0.5)] = NEITHER
        positives, negatives = draw_sample(match, number=number, positive=positive)
        chosen, objects = torch.cat((positives, negatives)), match[positives]
        drawn.append(regions[chosen])
        labels.append(names[objects])
        labels.append(names.new_full((len(negatives),), num_classes))
        offsets.append(encode_boxes(boxes[objects], regions[positives], REGION))
        offsets.append(boxes.new_zeros(len(negatives), 4))
        count = max(1, len(chosen)) * len(proposals)
        share.append(boxes.new_full((len(chosen),), 1 / count))
    return Regions(drawn, torch.cat(labels), torch.cat(offsets), torch.cat(share))


def region_losses(
    logits: Tensor, offsets: Tensor, regions: Regions, *, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """L = mean(−log p_u) and mean([u is no background] · smooth_L1(t_u − v)) over the regions.

    Source: Girshick (2015), equations 1 to 3.
    Args:
        logits: (S, num_classes + 1), background last.
        offsets: (S, num_classes, 4).
        regions: what was drawn.
        beta: where the loss of an offset goes from quadratic to linear.
    Returns: the loss of the classes and that of the boxes, means over the pictures.
    """
    logits, offsets = logits.float(), offsets.float()
    by_class = F.cross_entropy(logits, regions.labels, reduction="none")
    found = torch.where(regions.labels < offsets.shape[1])[0]
    own = offsets[found, regions.labels[found]]
    by_box = F.smooth_l1_loss(own, regions.offsets[found], beta=beta, reduction="none").sum(dim=1)
    return (by_class * regions.share).sum(), (by_box * regions.share[found]).sum()


def region_detections(
    proposals: Sequence[Tensor],
    logits: Sequence[Tensor],
    offsets: Sequence[Tensor],
    size: tuple[int, int],
    *,
    score: float,
    iou: float,
    most: int,
) -> Tensor:
    """Decodes, clips and suppresses the boxes of every region and class.

    Args:
        proposals: (P_i, 4) of each picture.
        logits: (P_i, num_classes + 1) of each picture, background last.
        offsets: (P_i, num_classes, 4) of each picture.
        size: (H, W) of the pictures.
        score: least probability of a class.
        iou: a box that overlaps a likelier one of its class more is left out.
        most: detections of a picture.
    Returns: float32 (B, most, 6): x0, y0, x1, y1, score, label; label −1 and zeros where there are
        no more.
    """
    found = []
    for regions, scores, shifts in zip(proposals, logits, offsets, strict=True):
        parts = scores.float().softmax(dim=1)[:, :-1]
        boxes = clip_boxes(decode_boxes(shifts, regions[:, None], REGION), size)
        row, label = torch.where((parts > score) & is_a_box(boxes, least=0.01))
        found.append(suppress(boxes[row, label], parts[row, label], label, iou=iou, most=most))
    return torch.stack(found)


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, *, iou: float, most: int) -> Tensor:
    """The `most` likeliest boxes (P, 4) of which none overlaps a likelier one of its class.

    Of equally likely boxes the first stays.

    Returns: float32 (most, 6): x0, y0, x1, y1, score, label, the likeliest first; label −1 and
        zeros where there are no more.
    """
    from torchvision.ops import batched_nms  # two seconds to import

    if len(scores) > MOST_CANDIDATES:
        chosen = scores.sort(descending=True, stable=True).indices[:MOST_CANDIDATES]
        boxes, scores, labels = boxes[chosen], scores[chosen], labels[chosen]
    keep = batched_nms(boxes, scores, labels, iou)[:most]
    rows = boxes.new_zeros(most, 6)
    rows[:, 5] = -1
    rows[: len(keep)] = torch.cat(
        (boxes[keep], scores[keep, None], labels[keep, None].to(boxes.dtype)), dim=1
    )
    return rows
