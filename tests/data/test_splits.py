from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convolens.data.base import Dataset, MemoryPictures, Split
from convolens.data.picture import PictureFormat
from convolens.data.splits import carve_validation, strata, stratified_split
from convolens.errors import DataError


def dataset(labels: torch.Tensor) -> Dataset:
    pixels = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1)
    names = [str(i) for i in range(len(labels))]
    split = Split(pictures=MemoryPictures(pixels), targets={"label": labels}, names=names)
    return Dataset(
        name="toy",
        class_names=("a", "b"),
        format=PictureFormat(channels=1, size=(1, 1)),
        train=split,
        val=None,
        test=split,
    )


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
def test_every_class_gives_its_share_and_keeps_a_picture(
    labels: list[int], fraction: float, seed: int
) -> None:
    all_labels = torch.tensor(labels)
    kept, held = stratified_split(all_labels, fraction, seed)
    assert sorted(kept.tolist() + held.tolist()) == list(range(len(labels)))
    for label in set(labels):
        count = labels.count(label)
        share = int((all_labels[held] == label).sum())
        assert share < count
        assert share >= 1 or count == 1
        assert abs(share - fraction * count) <= 0.5 + 1e-9 or share in (1, count - 1, 0)
    again = stratified_split(all_labels, fraction, seed)
    assert torch.equal(kept, again[0])


def test_seeds_choose_different_pictures() -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    assert not torch.equal(stratified_split(labels, 0.2, 0)[1], stratified_split(labels, 0.2, 1)[1])


def test_carving_moves_pictures_with_their_labels_and_names() -> None:
    labels = torch.tensor([0, 1] * 10)
    carved = carve_validation(dataset(labels), 0.2, seed=0)
    assert carved.val is not None
    assert (len(carved.train), len(carved.val), len(carved.test)) == (16, 4, 20)
    for split in (carved.train, carved.val):
        places = split.pictures.batch(torch.arange(len(split))).flatten().tolist()
        assert [int(name) for name in split.names] == places
        assert torch.equal(torch.as_tensor(split.targets["label"]), labels[places])
    assert carve_validation(carved, 0.5, seed=1) is carved


def test_too_few_pictures_and_wrong_fractions_are_named() -> None:
    with pytest.raises(DataError, match="'toy' has too few training pictures"):
        carve_validation(dataset(torch.tensor([0, 1])), 0.2, seed=0)
    with pytest.raises(DataError, match="fraction must lie between 0 and 1, received 1"):
        carve_validation(dataset(torch.tensor([0, 1])), 1.0, seed=0)


def boxed(*classes: list[int]) -> Split:
    pixels = torch.zeros(len(classes), 1, 1, 1, dtype=torch.uint8)
    targets = {"box_labels": [torch.tensor(found, dtype=torch.int64) for found in classes]}
    names = [str(i) for i in range(len(classes))]
    return Split(pictures=MemoryPictures(pixels), targets=targets, names=names)


def test_pictures_with_boxes_are_shared_out_by_their_rarest_class() -> None:
    split = boxed([0, 0, 1], [0], [1, 0], [], [0, 2], [0], [])
    assert strata(split).tolist() == [1, 0, 1, -1, -1, 0, -1]


def test_sets_with_boxes_or_masks_alone_are_carved() -> None:
    many = boxed(*([[0], [0, 1], []] * 10))
    toy = replace(dataset(torch.tensor([0])), train=many)
    carved = carve_validation(toy, 0.2, seed=0)
    assert carved.val is not None
    kinds = strata(carved.val)
    assert [int((kinds == kind).sum()) for kind in (-1, 0, 1)] == [2, 2, 2]
    masked = replace(many, targets={"masks": torch.zeros(30, 1, 1, dtype=torch.uint8)})
    carved = carve_validation(replace(toy, train=masked), 0.2, seed=0)
    assert carved.val is not None
    assert len(carved.val) == 6
    assert torch.as_tensor(carved.val.targets["masks"]).shape == (6, 1, 1)
