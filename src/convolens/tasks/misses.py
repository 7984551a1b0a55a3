"""The pictures in which a detector is most wrong."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from convolens.data.base import Split
from convolens.tasks.average_precision import Flags, Found, Truth, assign
from convolens.visual.boxes import draw_misses
from convolens.visual.figure import Figure
from convolens.visual.style import PAPER

IOU = 0.5
SCORE = 0.25
MOST_SHOWN = 6
_GAP_PX = 24


@dataclass(frozen=True, kw_only=True)
class Misses:
    """What a detector got wrong in one picture.

    Args:
        missed: (M,) which of the objects no detection has found.
        seen: what was found with scores high enough.
        wrong: (D,) which of that found no object.
    """

    missed: Flags
    seen: Found
    wrong: Flags

    @property
    def count(self) -> int:
        return int(self.missed.sum()) + int(self.wrong.sum())


def misses_of(truth: Truth, found: Found, iou: float = IOU, score: float = SCORE) -> Misses:
    """Objects of a picture that were missed, and detections that found none, as COCO matches them.

    Args:
        iou: overlap from which a detection finds an object of its class.
        score: detections below are not counted.
    """
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= score]
    seen = Found(boxes=found.boxes[order], labels=found.labels[order], scores=found.scores[order])
    missed, wrong = ~truth.ignore, np.ones(len(order), dtype=bool)
    for label in np.unique(seen.labels):
        own, its = np.flatnonzero(truth.labels == label), np.flatnonzero(seen.labels == label)
        (taken,) = assign(seen.boxes[its], truth.boxes[own], truth.ignore[own], np.array([iou]))
        wrong[its] = taken < 0
        missed[own[taken[taken >= 0]]] = False
    return Misses(missed=missed, seen=seen, wrong=wrong)


def worst_misses(
    truths: Mapping[int, Truth], found: Mapping[int, Found], split: Split, names: tuple[str, ...]
) -> Figure:
    """Draws the pictures with the most missed objects and false detections, the worst first.

    Args:
        truths, found: by the picture's place in the split.
        names: of the classes.
    """
    misses = {place: misses_of(truths[place], found[place]) for place in truths}
    wrong = {place: one.count for place, one in misses.items() if one.count}
    rows = []
    for place in sorted(wrong, key=lambda place: -wrong[place])[:MOST_SHOWN]:
        truth, one = truths[place], misses[place]
        (pixels,) = split.pictures.batch(torch.tensor([place])).numpy()
        seen = one.seen
        drawn = draw_misses(
            *(pixels, truth.boxes, truth.labels, seen.boxes, seen.labels, seen.scores, names),
            missed=one.missed,
            wrong=one.wrong,
        )
        rows.append(drawn.pixels)
    total = sum(wrong.values())
    caption = (
        f"The {len(rows)} pictures with most errors, truth left and detections right; {total:,} "
        f"objects missed or falsely found in {len(truths):,} pictures, at IoU {IOU} and scores "
        f"of {SCORE} and more."
        if rows
        else "No object is missed, and none falsely found."
    )
    return Figure(name="misses", caption=caption, pixels=_stacked(rows))


def _stacked(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures one below the other on paper."""
    width = max((row.shape[1] for row in rows), default=400)
    height = sum(row.shape[0] + _GAP_PX for row in rows) or 40
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    top = 0
    for row in rows:
        sheet[top : top + row.shape[0], : row.shape[1]] = row
        top += row.shape[0] + _GAP_PX
    return sheet
