import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.nn.matching import BACKGROUND, NEITHER, draw_sample, match_boxes, part_inside


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.booleans(), st.integers(0, 1000))
def test_torchvision_matches_the_same(
    objects: int, boxes: int, at_least_one: bool, seed: int
) -> None:
    from torchvision.models.detection._utils import Matcher

    source = torch.Generator().manual_seed(seed)
    # Rounded, so that ties occur; above 0, since torchvision gives every box to an object that
    # none overlaps.
    iou = (torch.rand(objects, boxes, generator=source) * 10).round().clamp(min=1) / 10
    expected = Matcher(0.7, 0.3, allow_low_quality_matches=at_least_one)(iou.clone())
    assert torch.equal(match_boxes(iou, low=0.3, high=0.7, at_least_one=at_least_one), expected)


def test_an_object_that_no_box_overlaps_gets_none() -> None:
    iou = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.2, 0.0]])
    assert match_boxes(iou, low=0.3, high=0.7, at_least_one=True).tolist() == [-1, 1, -1]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_without_objects_or_boxes_all_is_background(shape: tuple[int, int]) -> None:
    match = match_boxes(torch.zeros(shape), low=0.3, high=0.7, at_least_one=True)
    assert match.tolist() == [BACKGROUND] * shape[1]


def test_the_part_of_a_box_in_a_crowd() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [15, 0, 25, 10], [90, 90, 95, 95], [3, 3, 3, 3]])
    crowd = torch.tensor([[0.0, 0, 20, 50], [0, 0, 1, 1]])
    assert part_inside(boxes, crowd).tolist() == [1.0, 0.5, 0.0, 0.0]
    assert part_inside(boxes, crowd[:0]).tolist() == [0.0] * 4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_a_sample_has_at_most_its_part_of_objects(
    num_objects: int, num_ground: int, number: int
) -> None:
    match = torch.tensor([0] * num_objects + [NEITHER] * 5 + [BACKGROUND] * num_ground)
    positives, negatives = draw_sample(match, number=number, positive=0.25)
    assert (match[positives] >= 0).all()
    assert (match[negatives] == BACKGROUND).all()
    assert len(positives) == min(num_objects, number // 4)
    assert len(negatives) == min(num_ground, number - len(positives))
    assert len(set(positives.tolist()) | set(negatives.tolist())) == len(positives) + len(negatives)


def test_the_same_seed_draws_the_same() -> None:
    match = torch.tensor([0, -1] * 50)
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(torch.cat(draw_sample(match, number=20, positive=0.5)))
    assert torch.equal(*draws)
