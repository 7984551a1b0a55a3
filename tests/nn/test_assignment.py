"""Task-aligned assignment against equations 3 and 4, and the cases that others get wrong."""

import pytest
import torch
from torch import Tensor

from convolens.nn.assignment import LEAST_QUALITY, assign_points
from convolens.nn.box_overlap import pairwise_iou
from convolens.nn.objects import Objects, pad_objects

SIDE, STRIDE = 64, 8
SIZE = (SIDE, SIDE)


def points() -> Tensor:
    steps = (torch.arange(SIDE // STRIDE) + 0.5) * STRIDE
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=2).flatten(0, 1)


def predictions(pictures: int, kinds: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    half = 4 + 16 * torch.rand(pictures, len(points()), 2)
    middle = points() + 4 * torch.randn(pictures, len(points()), 2)
    boxes = torch.cat((middle - half, middle + half), dim=2)
    return torch.rand(pictures, len(points()), kinds), boxes


def objects(
    boxes: list[list[float]], labels: list[int], ignore: list[bool] | None = None
) -> Objects:
    void = None if ignore is None else [torch.tensor(ignore)]
    return pad_objects([torch.tensor(boxes)], [torch.tensor(labels)], void)


def test_points_and_qualities_are_those_of_the_paper() -> None:
    scores, boxes = predictions(1)
    targets = objects([[4, 4, 30, 40]], [2])
    found = assign_points(scores, boxes, points(), targets, SIZE, most=5)
    overlap = pairwise_iou(targets.boxes[0], boxes[0])[0]
    x, y = points().unbind(1)
    aligned = scores[0, :, 2] * overlap**6
    aligned[(x < 4) | (x > 30) | (y < 4) | (y > 40)] = 0
    expected = torch.zeros(len(x))
    best = aligned.topk(5).indices
    expected[best] = aligned[best] / aligned.max() * overlap[best].max()
    torch.testing.assert_close(found.quality[0], expected)


def test_one_picture_alone_is_assigned_as_among_others() -> None:
    scores, boxes = predictions(3)
    each = [torch.rand(n, 4).cumsum(1) * 20 for n in (4, 0, 9)]
    labels = [torch.arange(len(b)) % 3 for b in each]
    together = assign_points(scores, boxes, points(), pad_objects(each, labels), SIZE)
    for row in range(3):
        alone = assign_points(
            scores[row, None],
            boxes[row, None],
            points(),
            pad_objects([each[row]], [labels[row]]),
            SIZE,
        )
        torch.testing.assert_close(alone.quality[0], together.quality[row])
        assert torch.equal(alone.truth[0], together.truth[row])


def test_an_object_between_the_points_gets_the_nearest() -> None:
    scores, boxes = predictions(1)
    found = assign_points(scores, boxes, points(), objects([[9, 14, 11, 17]], [0]), SIZE)
    assert found.quality[0].nonzero().flatten().tolist() == [8 + 1]
    assert points()[9].tolist() == [12, 12]


def test_an_object_that_nothing_overlaps_is_learnt_all_the_same() -> None:
    scores, _ = predictions(1)
    nowhere = torch.tensor([500.0, 500, 510, 510]).expand(1, len(points()), 4)
    found = assign_points(scores, nowhere, points(), objects([[2, 2, 30, 30]], [1]), SIZE)
    assert found.quality.max() == pytest.approx(LEAST_QUALITY)


def test_every_one_of_equal_or_nested_objects_gets_a_point() -> None:
    scores, boxes = predictions(1)
    same = [[10.0, 10, 40, 40]] * 4
    nested = [[20.0 - i, 20 - i, 24 + i, 24 + i] for i in (0, 6, 14, 20)]
    for crowd in (same, nested):
        found = assign_points(scores, boxes, points(), objects(crowd, [0] * 4), SIZE)
        assert set(found.truth[0][found.quality[0] > 0].tolist()) == {0, 1, 2, 3}


def test_a_crowd_of_three_hundred_takes_every_point_once() -> None:
    scores, boxes = predictions(1)
    torch.manual_seed(1)
    start = torch.rand(300, 2) * 56
    crowd = pad_objects(
        [torch.cat((start, start + 3 + 4 * torch.rand(300, 2)), 1)], [torch.zeros(300)]
    )
    found = assign_points(scores, boxes, points(), crowd, SIZE)
    assert found.quality.isfinite().all()
    taken = found.truth[0][found.quality[0] > 0]
    assert len(taken) == len(taken.unique())
    assert len(taken) > 50


def test_what_is_no_object_gets_no_point() -> None:
    scores, boxes = predictions(1)
    for box in ([9.0, 9, 9, 30], [30.0, 30, 10, 10], [12.0, 12, 12, 12], [-9.0, 2, -1, 8]):
        found = assign_points(scores, boxes, points(), objects([box], [0]), SIZE)
        assert found.quality.count_nonzero() == 0
    none = assign_points(scores, boxes, points(), pad_objects([torch.zeros(0, 4)], [[]]), SIZE)
    assert none.quality.count_nonzero() == 0
    assert not none.void.any()


def test_an_object_partly_outside_is_found_from_inside() -> None:
    scores, boxes = predictions(1)
    found = assign_points(scores, boxes, points(), objects([[-30, -30, 20, 20]], [0]), SIZE)
    assert (points()[found.quality[0] > 0] < 20).all()
    assert found.quality.count_nonzero() == 4


def test_an_ignored_object_takes_no_point_and_hides_its_class_only() -> None:
    scores, boxes = predictions(1)
    targets = objects([[0, 0, 32, 32], [0, 0, 16, 16]], [1, 1], [True, False])
    found = assign_points(scores, boxes, points(), targets, SIZE)
    assert set(found.truth[0][found.quality[0] > 0].tolist()) == {1}
    assert not found.void[..., [0, 2]].any()
    inside = (points() < 32).all(dim=1)
    assert torch.equal(found.void[0, :, 1], inside & (found.quality[0] == 0))


def test_the_same_is_assigned_twice_and_nothing_learns_from_it() -> None:
    scores, boxes = (x.requires_grad_() for x in predictions(1))
    targets = objects([[4, 4, 30, 40], [4, 4, 30, 40]], [2, 1])
    first, second = (assign_points(scores, boxes, points(), targets, SIZE) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not first.quality.requires_grad
