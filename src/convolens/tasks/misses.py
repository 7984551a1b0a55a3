"""The pictures in which a detector is most wrong."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from convolens.data.base import Split
from convolens.tasks.average_precision import Found, Truth, match
from convolens.visual.boxes import draw_misses
from convolens.visual.figure import Figure
from convolens.visual.style import PAPER

IOU = 0.5
SCORE = 0.25
MOST_SHOWN = 6
_GAP_PX = 24


def num_wrong(truth: Truth, found: Found, iou: float = IOU, score: float = SCORE) -> int:
    """Objects of a picture that were missed, and detections that found none.

    Args:
        iou: overlap from which a detection finds an object of its class.
        score: detections below are not counted.
    """
    wrong = 0
    sure = found.scores >= score
    for label in {*truth.labels.tolist(), *found.labels[sure].tolist()}:
        own, its = truth.labels == label, (found.labels == label) & sure
        order = np.argsort(-found.scores[its], kind="stable")
        hit, left_out = match(
            found.boxes[its][order], truth.boxes[own], truth.ignore[own], np.array([iou])
        )
        right = int((hit & ~left_out).sum())
        wrong += int((~truth.ignore[own]).sum()) - right + int((~hit).sum())
    return wrong


def worst_misses(
    truths: Mapping[int, Truth], found: Mapping[int, Found], split: Split, names: tuple[str, ...]
) -> Figure:
    """Draws the pictures with the most missed objects and false detections, the worst first.

    Args:
        truths, found: by the picture's place in the split.
        names: of the classes.
    """
    wrong = {place: num_wrong(truths[place], found[place]) for place in truths}
    worst = sorted((place for place in wrong if wrong[place]), key=lambda place: -wrong[place])
    rows = []
    for place in worst[:MOST_SHOWN]:
        truth, seen = truths[place], found[place]
        (pixels,) = split.pictures.batch(torch.tensor([place])).numpy()
        drawn = draw_misses(
            pixels, truth.boxes, truth.labels, seen.boxes, seen.labels, seen.scores, names
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
