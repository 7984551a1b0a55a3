from typing import Any

import pytest
import torch
from torch import Tensor

from convolens.nn.anchors import anchor_shapes, grid_anchors
from convolens.nn.box_coding import decode_boxes
from convolens.nn.objects import Objects, pad_objects
from convolens.nn.region_proposals import RegionProposals, propose, rpn_losses

SIZE = (64, 80)
ANCHORS = torch.cat(
    [
        grid_anchors((64 // stride, 80 // stride), stride, anchor_shapes((2 * stride,), (0.5, 1)))
        for stride in (8, 16)
    ]
)
LEVELS = [160, 40]
TRUTH = torch.tensor([[3.0, 4, 30, 25], [40, 30, 60, 60], [10, 40, 14, 44]])


def theirs(**options: Any) -> Any:
    from torchvision.models.detection.rpn import RegionProposalNetwork

    sizes = {"pre_nms_top_n": 40, "post_nms_top_n": 20}
    both = {name: {"training": n, "testing": n} for name, n in sizes.items()}
    return RegionProposalNetwork(
        None, None, 0.7, 0.3, 4 * len(ANCHORS), 0.5, **both, nms_thresh=0.7
    )


def outputs(batch: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    return (
        torch.randn(batch, len(ANCHORS), generator=source),
        0.3 * torch.randn(batch, len(ANCHORS), 4, generator=source),
    )


def test_the_losses_are_torchvisions() -> None:
    objectness, offsets = outputs(1)
    rpn = theirs()
    labels, matched = rpn.assign_targets_to_anchors([ANCHORS], [{"boxes": TRUTH}])
    wanted = rpn.box_coder.encode(matched, [ANCHORS])
    expected = rpn.compute_loss(objectness.flatten()[:, None], offsets[0], labels, wanted)
    own = rpn_losses(
        *(objectness, offsets, ANCHORS, pad_objects([TRUTH], [torch.zeros(3)]), SIZE),
        number=4 * len(ANCHORS),  # all of them, so that chance has no say
    )
    torch.testing.assert_close(own, expected)


def test_the_proposals_are_torchvisions() -> None:
    objectness, offsets = outputs(2)
    rpn = theirs()
    rpn.min_size = 1.0
    boxes = decode_boxes(offsets, ANCHORS)
    expected, _ = rpn.filter_proposals(boxes, objectness, [SIZE] * 2, LEVELS)
    found = propose(objectness, offsets, ANCHORS, LEVELS, SIZE, most=20)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other)


def test_perfect_outputs_propose_the_truth() -> None:
    from torchvision.ops import box_iou

    from convolens.nn.box_coding import encode_boxes
    from convolens.nn.matching import match_boxes

    match = match_boxes(box_iou(TRUTH, ANCHORS), low=0.3, high=0.7, at_least_one=True)
    objectness = (match >= 0).float()[None] * 20 - 10
    offsets = torch.zeros(1, len(ANCHORS), 4)
    found = match >= 0
    offsets[0, found] = encode_boxes(TRUTH[match[found]], ANCHORS[found])
    (boxes,) = propose(objectness, offsets, ANCHORS, LEVELS, SIZE, most=50)
    assert (box_iou(TRUTH, boxes).amax(dim=1) > 0.999).all()


@pytest.mark.parametrize(
    "targets",
    [
        pad_objects([torch.zeros(0, 4)] * 2, [torch.zeros(0)] * 2),
        pad_objects(
            [torch.rand(300, 2).mul(30).repeat(1, 2) + torch.tensor([0, 0, 9, 9])] * 2,
            [torch.zeros(300)] * 2,
        ),
        pad_objects(
            [torch.tensor([[5.0, 5, 5, 9], [9, 9, 2, 2], [900, 0, 950, 9]])] * 2,
            [torch.zeros(3)] * 2,
        ),
        pad_objects([TRUTH] * 2, [torch.zeros(3)] * 2, [torch.ones(3)] * 2),
    ],
    ids=["none", "crowd", "no boxes", "ignored"],
)
def test_losses_and_gradients_stay_finite(targets: Objects) -> None:
    objectness, offsets = (t.requires_grad_() for t in outputs(2))
    losses = rpn_losses(objectness, offsets, ANCHORS, targets, SIZE, number=64)
    sum(losses).backward()  # type: ignore[union-attr]
    for t in (objectness, offsets):
        assert t.grad is not None
        assert t.grad.isfinite().all()


def test_the_mean_is_over_the_pictures() -> None:
    objectness, offsets = outputs(2)
    empty = torch.zeros(0, 4)
    both = pad_objects([TRUTH, empty], [torch.zeros(3), torch.zeros(0)])
    number = 4 * len(ANCHORS)

    def of(rows: slice) -> Tensor:
        return torch.stack(
            rpn_losses(objectness[rows], offsets[rows], ANCHORS, both[rows], SIZE, number=number)
        )

    torch.testing.assert_close(of(slice(0, 2)), (of(slice(0, 1)) + of(slice(1, 2))) / 2)


def test_maps_become_rows_in_the_order_of_the_anchors() -> None:
    net = RegionProposals(4, 2)
    maps = [torch.randn(1, 4, 3, 5), torch.randn(1, 4, 2, 2)]
    objectness, offsets = net(maps)
    assert objectness.shape == (1, 3 * 5 * 2 + 2 * 2 * 2)
    hidden = net.relu(net.conv(maps[0]))
    place = (2 * 5 + 3) * 2 + 1  # the second anchor of row 2, column 3
    torch.testing.assert_close(objectness[0, place], net.objectness(hidden)[0, 1, 2, 3])
    torch.testing.assert_close(offsets[0, place], net.offset(hidden)[0, 4:8, 2, 3])
