"""Suppression of boxes that are found twice."""

import pytest
import torch
from torch import Tensor

from convolens.nn.box_overlap import iou as overlap
from convolens.nn.detections import best_detections

SIZE = (40, 60)


def scene(count: int = 80, kinds: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    start = torch.rand(2, count, 2) * torch.tensor([50.0, 30.0]) - 5
    return torch.cat((start, start + 5 + torch.rand(2, count, 2) * 20), 2), torch.rand(
        2, count, kinds
    )


def plainly(boxes: Tensor, scores: Tensor, *, score: float, iou: float, most: int) -> Tensor:
    """One picture, one detection after the other."""
    limit = torch.tensor([SIZE[1], SIZE[0]] * 2)
    left = [
        (float(scores[p, k]), -p, k)
        for p in range(len(boxes))
        for k in range(scores.shape[1])
        if scores[p, k] > score
    ]
    kept: list[Tensor] = []
    for value, place, kind in sorted(left, reverse=True):
        box = torch.minimum(boxes[-place].clamp(min=0), limit)
        if (box[2:] <= box[:2]).any():
            continue
        if all(row[5] != kind or overlap(row[:4], box) <= iou for row in kept):
            kept.append(torch.tensor([*box.tolist(), value, kind]))
    rows = torch.zeros(most, 6)
    rows[:, 5] = -1
    for row, found in zip(rows, kept, strict=False):
        row.copy_(found)
    return rows


@pytest.mark.parametrize("most", [5, 100])
def test_a_plain_loop_finds_the_same(most: int) -> None:
    boxes, scores = scene()
    found = best_detections(boxes, scores, SIZE, score=0.3, iou=0.5, most=most)
    for row in range(2):
        expected = plainly(boxes[row], scores[row], score=0.3, iou=0.5, most=most)
        torch.testing.assert_close(found[row], expected)


def test_classes_do_not_concern_each_other() -> None:
    box = torch.tensor([[[3.0, 4, 20, 30]]])
    found = best_detections(box, torch.tensor([[[0.6, 0.0, 0.9]]]), SIZE, most=3)
    assert found[0, :, 5].tolist() == [2, 0, -1]


def test_of_equal_scores_the_first_stays() -> None:
    boxes = torch.tensor([[[3.0, 4, 20, 30], [3.5, 4, 20, 30], [3.0, 4, 20.5, 30]]])
    for order in ([0, 1, 2], [2, 0, 1]):
        found = best_detections(boxes[:, order], torch.full((1, 3, 1), 0.5), SIZE, most=2)
        assert torch.equal(found[0, 0, :4], boxes[0, order[0]])
        assert found[0, 1, 5] == -1


def test_three_hundred_boxes_apart_all_stay() -> None:
    places = torch.cartesian_prod(torch.arange(20.0), torch.arange(15.0)) * 2
    boxes = torch.cat((places, places + 1.5), dim=1)[None]
    found = best_detections(boxes, torch.rand(1, 300, 1) + 0.1, SIZE, most=300)
    assert (found[0, :, 5] == 0).all()
    assert (found[0, 1:, 4] <= found[0, :-1, 4]).all()


def test_nothing_to_find_gives_rows_of_nothing() -> None:
    outside = torch.tensor([[[70.0, 0, 90, 20], [5, 5, 5, 9]]])
    nothing = torch.tensor([0.0, 0, 0, 0, 0, -1]).expand(1, 4, 6)
    assert torch.equal(best_detections(outside, torch.ones(1, 2, 3), SIZE, most=4), nothing)
    none = best_detections(torch.zeros(1, 0, 4), torch.zeros(1, 0, 3), SIZE, most=4)
    assert torch.equal(none, nothing)
