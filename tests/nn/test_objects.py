import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ShapeError
from convolens.nn.objects import Objects, pad_objects


def some(counts: list[int], *, proposals: list[int] | None = None) -> Objects:
    torch.manual_seed(0)
    return pad_objects(
        [torch.rand(m, 4) for m in counts],
        [torch.arange(m) for m in counts],
        [torch.arange(m) % 2 == 1 for m in counts],
        None if proposals is None else [torch.rand(p, 4) for p in proposals],
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_every_picture_gets_back_its_own_objects(counts: list[int]) -> None:
    boxes = [torch.rand(m, 4) for m in counts]
    labels = [torch.randint(0, 9, (m,)) for m in counts]
    ignore = [torch.rand(m) > 0.5 for m in counts]
    objects = pad_objects(boxes, labels, ignore)
    assert objects.labels.shape == (len(counts), max(counts))
    for row in range(len(counts)):
        of_row = objects.of_picture(row)
        assert torch.equal(of_row[0], boxes[row])
        assert torch.equal(of_row[1], labels[row])
        assert torch.equal(of_row[2], ignore[row])


def test_what_pads_is_minus_one_and_never_ignored() -> None:
    objects = some([2, 0, 1])
    assert objects.labels.tolist() == [[0, 1], [-1, -1], [0, -1]]
    assert objects.ignore.tolist() == [[False, True], [False, False], [False, False]]
    assert objects.boxes[1].eq(0).all()
    assert (objects.boxes.dtype, objects.labels.dtype) == (torch.float32, torch.int64)


def test_numpy_arrays_are_taken() -> None:
    objects = pad_objects(
        [np.ones((1, 4), np.float32), np.zeros((0, 4), np.float32)],
        [np.array([3]), np.zeros(0, np.int64)],
    )
    assert objects.labels.tolist() == [[3], [-1]]


def test_a_crowd_of_300() -> None:
    assert some([300, 1]).boxes.shape == (2, 300, 4)


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([2, 1])])
def test_some_pictures_are_some_rows(index: slice | torch.Tensor) -> None:
    objects = some([1, 2, 3], proposals=[4, 0, 2])
    part = objects[index]
    rows = [1, 2] if isinstance(index, slice) else [2, 1]
    assert len(part) == 2
    for new, old in enumerate(rows):
        assert torch.equal(part.of_picture(new)[0], objects.of_picture(old)[0])
        assert torch.equal(part.proposals_of(new), objects.proposals_of(old))


def test_proposals_lose_their_padding_and_may_be_missing() -> None:
    objects = some([1, 1], proposals=[3, 1])
    assert objects.proposals is not None
    assert objects.proposals[1, 1:].isnan().all()
    assert objects.proposals_of(1).shape == (1, 4)
    assert some([1]).proposals_of(0).shape == (0, 4)


def test_all_parts_move_to_a_device() -> None:
    moved = some([1, 2], proposals=[1, 1]).to("meta")
    assert moved.proposals is not None
    assert {t.device.type for t in (moved.boxes, moved.labels, moved.ignore, moved.proposals)} == {
        "meta"
    }


def test_a_box_without_a_label_is_named() -> None:
    with pytest.raises(ShapeError, match="picture 1 has 2 boxes, 1 labels and 1 flags"):
        pad_objects([torch.zeros(1, 4), torch.zeros(2, 4)], [torch.tensor([0]), torch.tensor([0])])
