import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convolens.nn.box_coding import (
    PLAIN,
    REGION,
    Weights,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    is_a_box,
)


def random_boxes(count: int, seed: int) -> Tensor:
    """Of 2 to 102 px, so that no scale is beyond the 62.5 to which decoding is limited."""
    source = torch.Generator().manual_seed(seed)
    first = torch.rand(count, 2, generator=source) * 200
    return torch.cat((first, first + 2 + 100 * torch.rand(count, 2, generator=source)), dim=1)


@pytest.mark.parametrize("weights", [PLAIN, REGION])
def test_torchvision_codes_boxes_the_same_way(weights: Weights) -> None:
    from torchvision.models.detection._utils import BoxCoder

    boxes, anchors = random_boxes(50, 0), random_boxes(50, 1)
    theirs = BoxCoder(weights)
    offsets = encode_boxes(boxes, anchors, weights)
    torch.testing.assert_close(offsets, theirs.encode_single(boxes, anchors))
    noisy = offsets + torch.randn(50, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        decode_boxes(noisy, anchors, weights), theirs.decode_single(noisy, anchors)
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_coded_comes_back(seed: int) -> None:
    boxes, anchors = random_boxes(8, seed), random_boxes(8, seed + 1)
    back = decode_boxes(encode_boxes(boxes, anchors, REGION), anchors, REGION)
    torch.testing.assert_close(back, boxes, atol=1e-3, rtol=1e-4)


def test_a_wild_size_stays_finite() -> None:
    wild = decode_boxes(torch.full((1, 4), 1e4), torch.tensor([[0.0, 0, 10, 10]]))
    assert wild.isfinite().all()


def test_clipping_stays_in_the_picture() -> None:
    boxes = torch.tensor([[-5.0, -1, 30, 8], [50, 50, 60, 60], [1, 2, 3, 4]])
    assert clip_boxes(boxes, (10, 20)).tolist() == [[0, 0, 20, 8], [20, 10, 20, 10], [1, 2, 3, 4]]


def test_what_is_no_box() -> None:
    nan = float("nan")
    boxes = torch.tensor([[0, 0, 1, 1.0], [0, 0, 0, 5], [5, 5, 1, 9], [nan, 0, 1, 1]])
    assert is_a_box(boxes).tolist() == [True, False, False, False]
