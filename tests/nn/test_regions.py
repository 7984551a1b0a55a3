import pytest
import torch
from torch import Tensor

from convolens.nn.box_coding import REGION, encode_boxes
from convolens.nn.objects import Objects, pad_objects
from convolens.nn.regions import (
    Regions,
    objects_to_find,
    region_detections,
    region_losses,
    sample_regions,
    suppress,
)

SIZE = (100, 120)
CLASSES = 3


def random_boxes(count: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    first = torch.rand(count, 2, generator=source) * 60
    return torch.cat((first, first + 5 + 30 * torch.rand(count, 2, generator=source)), dim=1)


def sampled(proposals: list[Tensor], targets: Objects, **options: float) -> Regions:
    return sample_regions(proposals, targets, SIZE, num_classes=CLASSES, number=16, **options)


def test_the_loss_is_torchvisions() -> None:
    from torchvision.models.detection.roi_heads import fastrcnn_loss

    torch.manual_seed(0)
    logits, offsets = torch.randn(20, CLASSES + 1), torch.randn(20, CLASSES, 4)
    labels, wanted = torch.randint(0, CLASSES + 1, (20,)), torch.randn(20, 4)
    regions = Regions([random_boxes(20)], labels, wanted, torch.full((20,), 1 / 20))
    # There background is class 0 and has offsets too.
    theirs = fastrcnn_loss(
        logits.roll(1, dims=1),
        torch.cat((torch.zeros(20, 1, 4), offsets), dim=1).flatten(1),
        [(labels + 1) % (CLASSES + 1)],
        [wanted],
    )
    torch.testing.assert_close(region_losses(logits, offsets, regions, beta=1 / 9), theirs)


def test_the_detections_are_torchvisions() -> None:
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.roi_heads import RoIHeads

    torch.manual_seed(0)
    boxes, logits, offsets = random_boxes(80), 2 * torch.randn(80, 4), torch.randn(80, CLASSES, 4)
    heads = RoIHeads(None, None, None, 0.5, 0.5, 16, 0.25, REGION, 0.05, 0.5, 30)
    assert isinstance(heads.box_coder, BoxCoder)
    own_boxes, scores, labels = heads.postprocess_detections(
        logits.roll(1, dims=1),
        torch.cat((torch.zeros(80, 1, 4), offsets), dim=1).flatten(1),
        [boxes],
        [SIZE],
    )
    (found,) = region_detections([boxes], [logits], [offsets], SIZE, score=0.05, iou=0.5, most=30)
    torch.testing.assert_close(found[:, :4], own_boxes[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found[:, 4], scores[0])
    assert torch.equal(found[:, 5].long(), labels[0] - 1)


def test_perfect_outputs_are_the_truth() -> None:
    truth, labels = random_boxes(6, seed=1), torch.tensor([0, 1, 2, 0, 1, 2])
    regions = truth + torch.tensor([2.0, -1, 3, 2])
    logits = 50 * torch.nn.functional.one_hot(labels, CLASSES + 1).float()
    offsets = torch.zeros(6, CLASSES, 4)
    offsets[range(6), labels] = encode_boxes(truth, regions, REGION)
    (found,) = region_detections([regions], [logits], [offsets], SIZE, score=0.5, iou=0.99, most=8)
    torch.testing.assert_close(found[:6, :4], truth, atol=1e-3, rtol=1e-4)
    assert found[:, 5].tolist() == [*labels.tolist(), -1, -1]
    assert (found[6:, :5] == 0).all()


def test_of_equally_likely_boxes_the_first_stays_and_classes_do_not_meet() -> None:
    box = torch.tensor([[10.0, 10, 30, 30]])
    boxes, labels = box.repeat(4, 1), torch.tensor([1, 0, 1, 0])
    boxes[2:, 2] = 31
    rows = suppress(boxes, torch.full((4,), 0.5), labels, iou=0.5, most=5)
    assert rows[:, 5].tolist() == [1, 0, -1, -1, -1]
    assert rows[:2, 2].tolist() == [30, 30]


def test_no_candidates_give_rows_of_padding() -> None:
    none = torch.zeros(0, 4)
    (found,) = region_detections(
        [none], [none], [torch.zeros(0, 3, 4)], SIZE, score=0.5, iou=0.5, most=2
    )
    assert found.tolist() == [[0, 0, 0, 0, 0, -1]] * 2


def test_boxes_that_are_none_and_those_to_ignore_are_not_to_be_found() -> None:
    boxes = torch.tensor(
        [[-10.0, 5, 20, 200], [5, 5, 5, 9], [9, 9, 2, 2], [200, 0, 300, 9], [1, 1, 8, 8]]
    )
    ignore = torch.tensor([False, False, False, False, True])
    targets = pad_objects([boxes], [torch.arange(5)], [ignore])
    found, labels, void = objects_to_find(targets, 0, SIZE)
    assert found.tolist() == [[0, 5, 20, 100]]
    assert labels.tolist() == [0]
    assert void.tolist() == [[1, 1, 8, 8]]


def test_regions_are_objects_where_they_overlap_by_half() -> None:
    truth = torch.tensor([[10.0, 10, 50, 50]])
    near, far = torch.tensor([[12.0, 10, 52, 50]]), torch.tensor([[60.0, 60, 90, 90]])
    proposals = torch.cat((near, far))
    regions = sampled([proposals], pad_objects([truth], [torch.tensor([2])]))
    kinds = {tuple(b.tolist()): k for b, k in zip(regions.boxes[0], regions.labels, strict=True)}
    assert kinds[tuple(near[0].tolist())] == 2
    assert kinds[tuple(far[0].tolist())] == CLASSES
    assert kinds[tuple(truth[0].tolist())] == 2  # the object itself is a region
    assert regions.share.sum() == pytest.approx(1)


def test_background_is_not_drawn_from_what_is_ignored_nor_from_afar() -> None:
    truth, crowd = torch.tensor([[10.0, 10, 50, 50]]), torch.tensor([[60.0, 0, 120, 100]])
    proposals = torch.tensor([[70.0, 10, 80, 20], [30.0, 10, 70, 50], [0.0, 60, 20, 90]])
    targets = pad_objects(
        [torch.cat((truth, crowd))], [torch.tensor([0, 1])], [torch.tensor([False, True])]
    )
    ground = sampled([proposals], targets)
    rows = ground.boxes[0][ground.labels == CLASSES].tolist()
    assert sorted(rows) == [[0, 60, 20, 90], [30, 10, 70, 50]]
    near = sampled([proposals], targets, least=0.1)
    assert near.boxes[0][near.labels == CLASSES].tolist() == [[30, 10, 70, 50]]


def test_every_picture_counts_the_same() -> None:
    targets = pad_objects(
        [random_boxes(2), torch.zeros(0, 4)], [torch.tensor([0, 1]), torch.zeros(0)]
    )
    regions = sampled([random_boxes(3, 5), random_boxes(9, 6)], targets)
    first, second = regions.share.split([len(b) for b in regions.boxes])
    assert first.sum() == pytest.approx(0.5)
    assert second.sum() == pytest.approx(0.5)


def test_no_regions_at_all_lose_nothing() -> None:
    targets = pad_objects([torch.zeros(0, 4)], [torch.zeros(0)])
    regions = sampled([torch.zeros(0, 4)], targets)
    logits = torch.zeros(0, CLASSES + 1, requires_grad=True)
    losses = region_losses(logits, torch.zeros(0, CLASSES, 4), regions)
    assert [loss.item() for loss in losses] == [0, 0]
