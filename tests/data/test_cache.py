from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convolens.data.base import Dataset, MemoryPictures, Problem, Split
from convolens.data.cache import cached
from convolens.data.picture import PictureFormat


def split(value: int) -> Split:
    return Split(
        pictures=MemoryPictures(torch.full((3, 1, 2, 2), value, dtype=torch.uint8)),
        targets={"label": torch.tensor([0, 1, 0])},
        names=["a/ä\n.png", "b/1.png", "a/2.png"],
    )


MADE = Dataset(
    name="toy",
    class_names=("a", "b"),
    format=PictureFormat(channels=1, size=(2, 2), background=0),
    train=split(1),
    val=split(2),
    test=split(3),
    problems=(Problem(where="x.png", why="is empty"),),
    notes=("a note",),
)


class Maker:
    def __init__(self, dataset: Dataset = MADE) -> None:
        self.dataset = dataset
        self.calls = 0

    def __call__(self) -> Dataset:
        self.calls += 1
        return self.dataset


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.tar"
    path.write_bytes(b"content")
    return path


def assert_equal(found: Dataset, expected: Dataset) -> None:
    for part in ("train", "val", "test"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            every = torch.arange(3)
            assert torch.equal(ours.pictures.batch(every), theirs.pictures.batch(every))
            assert ours.targets["label"].tolist() == theirs.targets["label"].tolist()
            assert list(ours.names) == list(theirs.names)
    same = MADE.train
    assert replace(found, train=same, val=None, test=same) == replace(
        expected, train=same, val=None, test=same
    )


@pytest.mark.parametrize("dataset", [MADE, replace(MADE, val=None)])
def test_the_second_time_it_is_read_and_not_made(
    tmp_path: Path, source: Path, dataset: Dataset
) -> None:
    make = Maker(dataset)
    for _ in range(2):
        assert_equal(cached([source], "small", tmp_path / "cache", make), dataset)
    assert make.calls == 1
    cached([source], "large", tmp_path / "cache", make)
    assert make.calls == 2
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_changed_source_replaces_what_was_kept(tmp_path: Path, source: Path) -> None:
    make = Maker()
    cached([source], "small", tmp_path / "cache", make)
    source.write_bytes(b"other content")
    cached([source], "small", tmp_path / "cache", make)
    cached([source], "small", tmp_path / "cache", make)
    assert make.calls == 2
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"not a file of tensors", None])
def test_a_damaged_file_is_made_again(tmp_path: Path, source: Path, damage: bytes | None) -> None:
    make = Maker()
    cached([source], "small", tmp_path / "cache", make)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:-5] if damage is None else damage)
    assert_equal(cached([source], "small", tmp_path / "cache", make), MADE)
    assert make.calls == 2


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, source: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    make = Maker()
    for _ in range(2):
        assert_equal(cached([source], "small", tmp_path / "cache", make), MADE)
    assert make.calls == 2


def test_a_full_disk_leaves_no_half_file(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tensors: object, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convolens.data.cache.save_file", fail)
    assert_equal(cached([source], "small", tmp_path / "cache", Maker()), MADE)
    assert list((tmp_path / "cache").iterdir()) == []


def test_targets_of_every_kind_are_kept(tmp_path: Path, source: Path) -> None:
    targets: dict[str, Any] = {
        "masks": torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2),
        "boxes": [torch.rand(2, 4), torch.empty(0, 4), torch.rand(1, 4)],
        "box_ignore": [torch.tensor([True, False]), torch.zeros(0, dtype=torch.bool)] * 2,
    }
    targets["box_ignore"] = targets["box_ignore"][:3]
    made = replace(
        MADE,
        train=split(1),
        val=None,
        test=replace(split(2), targets=targets),
        tasks=("detect", "segment"),
        mask_names=("a", "b"),
    )
    make = Maker(made)
    for _ in range(2):
        found = cached([source], "small", tmp_path / "cache", make)
    assert make.calls == 1
    assert (found.tasks, found.mask_names) == (("detect", "segment"), ("a", "b"))
    assert torch.equal(torch.as_tensor(found.test.targets["masks"]), targets["masks"])
    for kind in ("boxes", "box_ignore"):
        pairs = list(zip(found.test.targets[kind], targets[kind], strict=True))
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)
