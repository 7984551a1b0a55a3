"""Average precision of detections, as COCO computes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0.0, 1.0, 101)

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The objects of one picture.

    Args:
        boxes: (M, 4) xyxy.
        labels: (M,).
        ignore: (M,); such an object is neither found nor missed, and what lies in it is no error.
    """

    boxes: Array
    labels: NDArray[np.int64]
    ignore: Flags


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a detector found in one picture.

    Args:
        boxes: (D, 4) xyxy.
        labels: (D,).
        scores: (D,).
    """

    boxes: Array
    labels: NDArray[np.int64]
    scores: Array


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Precision against recall of one class, at each of T thresholds of IoU.

    Args:
        precision: (T, 101), at the recalls 0, 0.01, …, 1: the best precision at that recall or a
            higher one, 0 where no recall is as high.
        recall: (T,) of all detections.
        num_objects: how many there are to be found.
    """

    precision: Array
    recall: Array
    num_objects: int

    @property
    def average(self) -> Array:
        """(T,) the average precision, NaN for a class without objects."""
        if not self.num_objects:
            return np.full(len(self.recall), np.nan)
        mean: Array = self.precision.mean(axis=1)
        return mean


def precision_recall(
    truths: Sequence[Truth],
    found: Sequence[Found],
    num_classes: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[Curve]:
    """The precision-recall curve of every class.

    Source: Lin et al. (2014), arXiv:1405.0312, and the evaluation of COCO that goes with it:
        detections by falling score, each takes the object of greatest IoU that is still free;
        101 recalls.
    Args:
        truths, found: one of each for every picture, in the same order.
        num_classes: labels are 0 to num_classes − 1.
        thresholds: the least IoU of a detection with the object that it finds.
    Returns: a Curve for each class.
    """
    pairs = list(zip(truths, found, strict=True))
    return [_curve(pairs, label, np.asarray(thresholds)) for label in range(num_classes)]


def _curve(pairs: Sequence[tuple[Truth, Found]], label: int, thresholds: Array) -> Curve:
    scores, hits, counted, total = [], [], [], 0
    for truth, found in pairs:
        own, its = truth.labels == label, found.labels == label
        total += int((own & ~truth.ignore).sum())
        if not its.any():
            continue
        order = np.argsort(-found.scores[its], kind="stable")
        hit, left_out = match(
            found.boxes[its][order], truth.boxes[own], truth.ignore[own], thresholds
        )
        scores.append(found.scores[its][order])
        hits.append(hit)
        counted.append(~left_out)
    if not scores:
        empty = np.zeros((len(thresholds), len(RECALLS)))
        return Curve(precision=empty, recall=np.zeros(len(thresholds)), num_objects=total)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits, axis=1)[:, order]
    counts = np.concatenate(counted, axis=1)[:, order]
    rows = [_interpolated(*row, total) for row in zip(hit, counts, strict=True)]
    return Curve(
        precision=np.stack([precision for precision, _ in rows]),
        recall=np.array([recall for _, recall in rows]),
        num_objects=total,
    )


def _interpolated(hit: Flags, counts: Flags, total: int) -> tuple[Array, float]:
    """Precision at the 101 recalls, and the recall of all detections."""
    true, false = np.cumsum(hit & counts), np.cumsum(~hit & counts)
    recall = true / max(total, 1)
    precision = true / np.maximum(true + false, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    reached = places < len(recall)
    at = np.where(reached, envelope[np.minimum(places, len(recall) - 1)], 0.0)
    return at, float(recall[-1])


def match(boxes: Array, objects: Array, ignore: Flags, thresholds: Array) -> tuple[Flags, Flags]:
    """Which detections of one class in one picture find an object.

    Args:
        boxes: (D, 4) detections by falling score.
        objects: (M, 4).
        ignore: (M,); such an object may be taken many times, and of its IoU only the
            detection's own area is the denominator.
        thresholds: (T,).
    Returns: (T, D) whether the detection took an object; (T, D) whether that object is to be
        ignored, so that the detection counts neither as right nor as wrong.
    """
    taken_by = assign(boxes, objects, ignore, thresholds)
    hit = taken_by >= 0
    left_out = hit & ignore[np.maximum(taken_by, 0)] if len(objects) else np.zeros_like(hit)
    return hit, left_out


def assign(boxes: Array, objects: Array, ignore: Flags, thresholds: Array) -> NDArray[np.int64]:
    """For each threshold and detection the place of the object that it takes, or −1: (T, D)."""
    taken_by = np.full((len(thresholds), len(boxes)), -1, dtype=np.int64)
    if not len(objects):
        return taken_by
    overlap = overlaps(boxes, objects, ignore)
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    free = np.ones((len(thresholds), len(objects)), dtype=bool)
    rows = np.arange(len(thresholds))
    last = len(objects) - 1
    for place, row in enumerate(overlap):
        possible = free & (row >= least)
        if not possible.any():
            continue
        for kind in (~ignore, ignore):  # an object that counts goes before one that does not
            values = np.where(possible & kind, row, -1.0)
            best = last - values[:, ::-1].argmax(axis=1)  # of two equals the later one
            takes = (values[rows, best] >= 0) & (taken_by[:, place] < 0)
            taken_by[takes, place] = best[takes]
        took = taken_by[:, place] >= 0
        free[rows[took], taken_by[took, place]] = ignore[taken_by[took, place]]
    return taken_by


def overlaps(boxes: Array, objects: Array, ignore: Flags) -> Array:
    """IoU of every detection with every object, (D, M); intersection over the detection's area
    where the object is to be ignored."""
    low = np.maximum(boxes[:, None, :2], objects[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], objects[None, :, 2:])
    common = np.prod(np.clip(high - low, 0.0, None), axis=2)
    own, its = (np.prod(np.clip(b[:, 2:] - b[:, :2], 0.0, None), axis=1) for b in (boxes, objects))
    union = np.where(ignore[None], own[:, None], own[:, None] + its[None] - common)
    values: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return values
