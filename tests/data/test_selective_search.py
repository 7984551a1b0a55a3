import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from convolens.data.selective_search import _group, _lab, proposals_of, selective_search
from convolens.data.shapes import load_shapes
from convolens.errors import ConfigError, ShapeError, UnavailableError


def recall(boxes: torch.Tensor, proposals: torch.Tensor) -> torch.Tensor:
    """Which boxes some proposal overlaps by 0.5."""
    from torchvision.ops import box_iou

    return box_iou(boxes, proposals).amax(dim=1) >= 0.5


def test_nine_of_ten_figures_are_among_the_proposals() -> None:
    split = load_shapes(num_train=8, num_test=1).train
    found = proposals_of(split.pictures.batch(torch.arange(8)), most=500)
    hits = [
        recall(torch.as_tensor(boxes), own)
        for boxes, own in zip(split.targets["boxes"], found, strict=True)
    ]
    assert torch.cat(hits).float().mean() >= 0.9


def test_boxes_lie_in_the_picture_and_occur_once() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    boxes = selective_search(rgb)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 60).all()
    assert (boxes[:, 3] <= 40).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 4).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert [0, 0, 60, 40] in boxes.tolist()  # all regions merged


def test_the_same_picture_has_the_same_boxes_and_the_first_of_them() -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    boxes = selective_search(rgb)
    assert np.array_equal(boxes, selective_search(rgb))
    assert np.array_equal(boxes[:7], selective_search(rgb, most=7))


def test_the_most_alike_regions_merge_first() -> None:
    labels = np.repeat(np.arange(4), 5)[None].repeat(3, axis=0)
    colour = np.array([[1, 0], [0.5, 0.5], [0.4, 0.6], [0, 1]], np.float32)
    boxes = _group(labels, colour, np.ones((4, 1), np.float32))
    assert boxes[4:].tolist() == [[5, 0, 15, 3], [5, 0, 20, 3], [0, 0, 20, 3]]


def test_a_plain_picture_is_one_box() -> None:
    (boxes,) = proposals_of(torch.full((1, 1, 32, 20), 90, dtype=torch.uint8))
    assert boxes.tolist() == [[0, 0, 20, 32]]


def test_lab_of_known_colours() -> None:
    rgb = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0]]], np.uint8)
    lab = _lab(rgb)[0] / [2.55, 1, 1] - [0, 128, 128]
    np.testing.assert_allclose(lab, [[100, 0, 0], [0, 0, 0], [53.2, 80.1, 67.2]], atol=0.5)


@pytest.mark.parametrize("module", [None, SimpleNamespace()], ids=["no OpenCV", "no contribution"])
def test_opencv_is_asked_for(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setitem(sys.modules, "cv2", module)  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="OpenCV's contributed module") as caught:
        proposals_of(torch.zeros(1, 3, 9, 9, dtype=torch.uint8), method="opencv")
    assert caught.value.hint == "Install convolens[selective-search], or use method=own."


def test_opencvs_boxes_where_it_is_installed() -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "ximgproc"):
        pytest.skip("OpenCV is installed without its contributed modules")
    split = load_shapes(num_train=1, num_test=1).train
    (boxes,) = proposals_of(split.pictures.batch(torch.arange(1)), method="opencv")
    assert (boxes >= 0).all()
    assert (boxes <= 64).all()


def test_what_cannot_be_searched_is_named() -> None:
    with pytest.raises(ShapeError, match=r"received torch\.float32 of shape \(1, 3, 9, 9\)"):
        proposals_of(torch.zeros(1, 3, 9, 9))
    with pytest.raises(ConfigError, match="method must be one of own, opencv, received 'slow'"):
        proposals_of(torch.zeros(1, 3, 9, 9, dtype=torch.uint8), method="slow")  # type: ignore[arg-type]
