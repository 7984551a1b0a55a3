"""Which points of a detector learn which object: task-aligned assignment.

Source: Feng, Zhong, Gao, Scott, Huang (2021), TOOD: Task-aligned one-stage object detection,
arXiv:2108.07755, section 3.2.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convolens.nn.box_overlap import area, pairwise_iou
from convolens.nn.objects import PADDING, Objects

SMALLEST_OVERLAP = 1e-7  # so that a logarithm is finite
LEAST_QUALITY = 0.1  # of an object's best point, so that one met by no box yet is learnt too
FIRST_CHOICE = 1e3  # more than any two alignments differ by
MOST_ROUNDS = 8  # of giving a point to objects that have lost all of theirs


class Assignment(NamedTuple):
    """What every point of every picture has to say.

    Args:
        truth: int64 (B, P), the object's place in the targets; 0 where there is none.
        quality: (B, P), the score to be given, 0 to 1; 0 where there is no object.
        void: bool (B, P, K), scores that are not judged: in an ignored object of that class.
    """

    truth: Tensor
    quality: Tensor
    void: Tensor


@torch.no_grad()
def assign_points(
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    targets: Objects,
    size: tuple[int, int],
    *,
    most: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> Assignment:
    """Gives each object the points inside it that find it best: largest score^α · IoU^β.

    The quality of a point is its alignment, scaled so that the best point of an object is to
    score the largest IoU that the object's points reach. An object without a point inside (it is
    smaller than the stride) takes the one nearest to its centre. A point
    that several objects want goes to one that has no other, then to one whose first choice it is,
    then to the one that aligns best; an object that so loses all of its points takes the best one
    that another can spare. Objects without area in the picture take no part.

    Source: Feng et al. (2021), equations 3 and 4, with the paper's α, β and number of points.
    Args:
        scores: of each class, 0 to 1.
        boxes: predicted, xyxy [px].
        points: (x, y) [px].
        targets: the objects.
        size: (H, W) of the pictures [px].
        most: points of an object at most.
        alpha: exponent of the score.
        beta: exponent of the IoU.
    Shape: scores (B, P, K), boxes (B, P, 4), points (P, 2)
    Returns: what every point is to learn.
    Deviates: the quality of an object's best point is at least 0.1; ties go to the first object.
    """
    num_classes = scores.shape[2]
    truths, labels = targets.boxes.to(boxes), targets.labels
    inside = _inside(points.to(boxes), truths)
    kind = F.one_hot(labels.clamp(min=0), num_classes).to(scores)
    hidden = (targets.ignore & (labels != PADDING))[:, :, None]
    void = torch.einsum("bmp,bmk->bpk", (inside & hidden).to(scores), kind) > 0
    seen = torch.minimum(truths.clamp(min=0), truths.new_tensor([*size[::-1], *size[::-1]]))
    counts = (labels != PADDING) & ~targets.ignore & (area(seen) > 0)
    if truths.shape[1] == 0:
        empty = labels.new_zeros(boxes.shape[:2])
        return Assignment(empty, empty.to(scores), void)
    overlap = pairwise_iou(truths, boxes)
    own = labels.clamp(min=0)[..., None].expand(-1, -1, scores.shape[1])
    chance = scores.transpose(1, 2).gather(1, own)
    alignment = alpha * chance.clamp(min=SMALLEST_OVERLAP).log()
    alignment = alignment + beta * overlap.clamp(min=SMALLEST_OVERLAP).log()
    alignment = alignment.masked_fill(
        ~(_candidates(inside, points, truths) & counts[..., None]), -torch.inf
    )
    truth, positive = _winners(alignment, most)
    held = _one_hot(truth, positive, like=alignment)
    best = alignment.masked_fill(~held, -torch.inf).amax(2).clamp(min=-FIRST_CHOICE)
    reached = (overlap * held).amax(2).clamp(min=LEAST_QUALITY)
    quality = (alignment - best[..., None]).exp() * reached[..., None]
    return Assignment(truth, torch.where(held, quality, 0).sum(1), void & ~positive[..., None])


def _inside(points: Tensor, truths: Tensor) -> Tensor:
    """Whether a point lies in an object: (P, 2), (B, M, 4) -> (B, M, P)."""
    after = points > truths[:, :, None, :2]
    before = points < truths[:, :, None, 2:]
    return (after & before).all(dim=3)


def _candidates(inside: Tensor, points: Tensor, truths: Tensor) -> Tensor:
    """The points inside each object, or else the one nearest to its centre."""
    centre = (truths[..., :2] + truths[..., 2:]) / 2
    distance = (points.to(truths) - centre[:, :, None]).square().sum(3)
    nearest = torch.zeros_like(inside).scatter_(2, distance.argmin(2, keepdim=True), True)
    return torch.where(inside.any(2, keepdim=True), inside, nearest)


def _winners(alignment: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The object (B, P) that each point goes to, and whether it goes to any."""
    wanted = alignment.topk(min(most, alignment.shape[2]), dim=2)
    claim = torch.full_like(alignment, -torch.inf).scatter_(2, wanted.indices, wanted.values)
    choices = (alignment > -torch.inf).sum(2, keepdim=True)
    insists = FIRST_CHOICE * (1 + (choices == 1))
    claim.scatter_(2, wanted.indices[..., :1], wanted.values[..., :1] + insists)
    strength, truth = claim.max(dim=1)
    positive, wants = strength > -torch.inf, choices[..., 0] > 0
    for _ in range(MOST_ROUNDS):
        held = _one_hot(truth, positive, like=alignment)
        without = wants & ~held.any(2)
        if not bool(without.any()):
            break
        truth, positive = _redistribute(alignment, truth, positive, without)
    return torch.where(positive, truth, 0), positive


def _redistribute(
    alignment: Tensor, truth: Tensor, positive: Tensor, without: Tensor
) -> tuple[Tensor, Tensor]:
    """Gives objects without a point the best one that is free, or that another can spare.

    Of each object that holds several points, one at most is taken.
    """
    held = _one_hot(truth, positive, like=alignment)
    spare = ~positive | (held.sum(2).gather(1, truth) > 1)
    free = alignment.masked_fill(~(spare[:, None] & without[..., None]), -torch.inf)
    first = free.max(dim=2, keepdim=True)
    asked = torch.full_like(alignment, -torch.inf).scatter_(2, first.indices, first.values)
    strength, taker = asked.max(dim=1)
    loss = torch.where(held, strength[:, None], -torch.inf)
    lost = torch.zeros_like(held).scatter_(2, loss.argmax(2, keepdim=True), True) & held
    taken = (strength > -torch.inf) & (~positive | lost.any(1))
    return torch.where(taken, taker, truth), positive | taken


def _one_hot(truth: Tensor, positive: Tensor, *, like: Tensor) -> Tensor:
    """Whether object m holds point p: (B, P), (B, P) -> bool (B, M, P)."""
    held = torch.zeros_like(like, dtype=torch.bool)
    return held.scatter_(1, truth[:, None], positive[:, None])
