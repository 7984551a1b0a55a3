"""Overlaps against torchvision, and against counted pixels."""

import pytest
import torch
from torch import Tensor

from convolens.nn.box_overlap import area, generalized_iou, iou, pairwise_iou

ops = pytest.importorskip("torchvision.ops")


def random_boxes(count: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    start = torch.rand(count, 2) * 50
    return torch.cat((start, start + torch.rand(count, 2) * 30), dim=1)


def test_torchvision_finds_the_same() -> None:
    a, b = random_boxes(40, 0), random_boxes(30, 1)
    torch.testing.assert_close(pairwise_iou(a, b), ops.box_iou(a, b))
    expected = ops.generalized_box_iou(a, b)
    torch.testing.assert_close(generalized_iou(a[:, None], b[None]), expected)
    torch.testing.assert_close(area(a), ops.box_area(a))


def test_whole_pixels_can_be_counted() -> None:
    a, b = torch.tensor([2, 1, 7, 6]), torch.tensor([4, 3, 9, 5])
    masks = torch.zeros(2, 10, 10, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, (a.tolist(), b.tolist()), strict=True):
        mask[y0:y1, x0:x1] = True
    counted = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    torch.testing.assert_close(iou(a.float(), b.float()), counted)


def test_boxes_without_area_overlap_nothing() -> None:
    point, swapped = torch.tensor([3.0, 3, 3, 3]), torch.tensor([9.0, 9, 1, 1])
    whole = torch.tensor([0.0, 0, 10, 10])
    for box in (point, swapped):
        assert area(box) == 0
        assert iou(box, whole) == 0
        assert iou(box, box) == 0
        assert generalized_iou(box, box).isfinite()


def test_the_gradient_is_that_of_finite_differences() -> None:
    a = random_boxes(6, 2).double().requires_grad_()
    b = random_boxes(6, 3).double()
    assert torch.autograd.gradcheck(lambda x: generalized_iou(x, b), (a,))


def test_boxes_apart_are_drawn_together() -> None:
    a = torch.tensor([0.0, 0, 4, 4], requires_grad=True)
    generalized_iou(a, torch.tensor([20.0, 0, 24, 4])).backward()
    assert a.grad is not None
    assert a.grad[2] > 0
