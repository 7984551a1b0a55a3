"""The region proposal network: where an object may be, without saying which.

Source: Ren, He, Girshick, Sun (2015), Faster R-CNN, arXiv:1506.01497, section 3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.nn.box_coding import clip_boxes, decode_boxes, encode_boxes, is_a_box
from convolens.nn.matching import NEITHER, draw_sample, match_boxes, part_inside
from convolens.nn.objects import Objects
from convolens.nn.regions import objects_to_find

BETA = 1 / 9  # of smooth L1, as in the authors' code
IOU = 0.7  # of non-maximum suppression among proposals, section 3.3
LEAST_SIDE_PX = 1.0


class RegionProposals(nn.Module):
    """A 3×3 convolution, and for every anchor of a cell an objectness and four offsets.

    Source: Ren et al. (2015), section 3.1 and figure 3.
    Args:
        channels: of the maps, and of the convolution.
        num_anchors: A, anchors of a cell.
    Shape: maps (N, channels, h_i, w_i) -> objectness (N, sum of h_i·w_i·A), offsets
        (N, sum of h_i·w_i·A, 4)
    """

    def __init__(self, channels: int, num_anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.objectness = nn.Conv2d(channels, num_anchors, 1)
        self.offset = nn.Conv2d(channels, 4 * num_anchors, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        hidden = [self.relu(self.conv(m)) for m in maps]
        objectness = [self.objectness(h).permute(0, 2, 3, 1).flatten(1) for h in hidden]
        offsets = [
            self.offset(h).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for h in hidden
        ]
        return torch.cat(objectness, dim=1), torch.cat(offsets, dim=1)


def rpn_losses(
    objectness: Tensor,
    offsets: Tensor,
    anchors: Tensor,
    targets: Objects,
    size: tuple[int, int],
    *,
    number: int,
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of drawn anchors, and smooth L1 of the offsets of those on an object.

    Source: Ren et al. (2015), equation 1, both terms divided by the number of drawn anchors.
    Args:
        objectness: float32 (B, A), logits.
        offsets: float32 (B, A, 4).
        anchors: (A, 4).
        targets: the objects.
        size: (H, W) of the pictures.
        number: anchors drawn of each picture; 256 in the paper.
    Returns: both losses, means over the pictures.
    """
    from torchvision.ops import box_iou  # two seconds to import

    by_anchor, by_offset = objectness.sum() * 0, offsets.sum() * 0
    for row in range(len(targets)):
        boxes, _, void = objects_to_find(targets, row, size)
        match = match_boxes(box_iou(boxes, anchors), low=0.3, high=0.7, at_least_one=True)
        match[(match < 0) & (part_inside(anchors, void) > 0.5)] = NEITHER
        positives, negatives = draw_sample(match, number=number, positive=0.5)
        drawn = torch.cat((positives, negatives))
        share = 1 / (max(1, len(drawn)) * len(targets))
        truth = torch.zeros_like(objectness[row, drawn])
        truth[: len(positives)] = 1
        by_anchor = by_anchor + share * F.binary_cross_entropy_with_logits(
            objectness[row, drawn], truth, reduction="sum"
        )
        by_offset = by_offset + share * F.smooth_l1_loss(
            offsets[row, positives],
            encode_boxes(boxes[match[positives]], anchors[positives]),
            beta=BETA,
            reduction="sum",
        )
    return by_anchor, by_offset


@torch.no_grad()
def propose(
    objectness: Tensor,
    offsets: Tensor,
    anchors: Tensor,
    levels: Sequence[int],
    size: tuple[int, int],
    *,
    most: int,
) -> list[Tensor]:
    """The likeliest boxes of each picture, of which none overlaps a likelier one by 0.7.

    Source: Ren et al. (2015), section 3.3; in a pyramid every level suppresses its own, after Lin
        et al. (2017), arXiv:1612.03144.
    Args:
        objectness: (B, A), logits.
        offsets: (B, A, 4).
        anchors: (A, 4).
        levels: how many of the anchors are of each level; the likeliest 4·most take part, as many
            of each level.
        size: (H, W) of the pictures.
        most: boxes of a picture.
    Returns: (P_i, 4) of each picture; on the meta device, where it is not known which overlap,
        as many as there may be.
    """
    from torchvision.ops import batched_nms  # two seconds to import

    candidates = 4 * most // len(levels)
    proposals = []
    for scores, parts in zip(objectness.float(), offsets.float(), strict=True):
        best = [of_level.topk(min(candidates, len(of_level))) for of_level in scores.split(levels)]
        starts = [sum(levels[:i]) for i in range(len(levels))]
        chosen = torch.cat([b.indices + start for b, start in zip(best, starts, strict=True)])
        boxes = clip_boxes(decode_boxes(parts[chosen], anchors[chosen]), size)
        if boxes.is_meta:
            proposals.append(boxes[:most])
            continue
        likely = torch.cat([b.values for b in best])
        level = torch.cat([torch.full_like(b.indices, i) for i, b in enumerate(best)])
        there = is_a_box(boxes, least=LEAST_SIDE_PX)
        kept = batched_nms(boxes[there], likely[there], level[there], IOU)[:most]
        proposals.append(boxes[there][kept])
    return proposals
