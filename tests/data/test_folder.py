import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.data.base import MemoryPictures
from convolens.data.files import FilePictures
from convolens.data.folder import Reading, load_folder
from convolens.errors import DataError

Write = Callable[..., Path]
FLAT = [f"{name}/{i}.png" for name in ("ant", "bee") for i in range(10)]


def test_a_flat_folder_keeps_a_fixed_fifth_for_the_test(write_pictures: Write) -> None:
    root = write_pictures(*FLAT)
    dataset = load_folder(root)
    assert dataset.class_names == ("ant", "bee")
    assert (len(dataset.train), dataset.val, len(dataset.test)) == (16, None, 4)
    assert torch.as_tensor(dataset.test.targets["label"]).tolist() == [0, 0, 1, 1]
    assert dataset.test.names == load_folder(root, Reading(image_size=8)).test.names
    assert sorted([*dataset.train.names, *dataset.test.names]) == sorted(FLAT)
    assert dataset.name == "pictures"
    assert dataset.problems == ()
    assert dataset.notes == (
        "no test folder: a fifth of each class, always the same, is kept for the test",
    )


def test_every_picture_stands_beside_its_own_label_and_name(write_pictures: Write) -> None:
    root = write_pictures(*FLAT, size=(32, 32))
    dataset = load_folder(root)
    for split in (dataset.train, dataset.test):
        pixels = split.pictures.batch(torch.arange(len(split)))
        labels = torch.as_tensor(split.targets["label"]).tolist()
        for name, label, picture in zip(split.names, labels, pixels, strict=True):
            with Image.open(root / name) as image:
                assert np.array_equal(picture.permute(1, 2, 0).numpy(), np.asarray(image))
            assert name.startswith(dataset.class_names[label] + "/")


@pytest.mark.parametrize(
    ("folders", "sizes", "note"),
    [
        (["train", "val", "test"], (4, 4, 4), ""),
        (["Train", "validation", "Test"], (4, 4, 4), ""),
        (["train", "test"], (4, None, 4), ""),
        (["train", "valid"], (4, None, 4), "no test folder: 'valid' is kept for the test"),
        (["train"], (2, None, 2), "no test folder: a fifth of each class"),
    ],
)
def test_folders_of_splits_are_taken_as_they_are(
    write_pictures: Write, folders: list[str], sizes: tuple[int | None, ...], note: str
) -> None:
    names = [f"{f}/{c}/deep/{i}.JPG" for f in folders for c in ("x", "y") for i in range(2)]
    dataset = load_folder(write_pictures(*names))
    val = dataset.val and len(dataset.val)
    assert (len(dataset.train), val, len(dataset.test)) == sizes
    assert all(found.startswith(note) for found in dataset.notes)
    assert len(dataset.notes) == (1 if note else 0)


def test_train_can_be_a_class(write_pictures: Write) -> None:
    names = [f"{c}/{i}.png" for c in ("bus", "car", "train") for i in range(2)]
    assert load_folder(write_pictures(*names)).class_names == ("bus", "car", "train")


def test_an_empty_test_folder_is_noted_and_not_used(write_pictures: Write) -> None:
    root = write_pictures("train/a/1.png", "train/b/1.png", "val/a/1.png")
    (root / "test" / "a").mkdir(parents=True)
    dataset = load_folder(root)
    assert len(dataset.test) == 1
    assert "folder 'test' holds no pictures and is not used" in dataset.notes


@pytest.mark.parametrize(
    ("names", "folders", "message"),
    [
        ([], [], "holds no pictures"),
        (["a.txt/none"], [], "holds no pictures"),
        (["1.png", "2.png"], [], "holds pictures but no class folders\nGive each class a folder"),
        (["a/1.png"], [], "holds one class folder, 'a'; two are needed\nGive each class"),
        (["w/a/1.png", "w/b/1.png"], [], "holds one class folder, 'w'.*\nDid you mean .*/w?"),
        (["a/1.png", "b/1.png"], ["c"], r"class folder '.*/c' holds no pictures"),
        (["a/1.png", "b/1.png"], [], "every class has a single picture"),
        (["test/a/1.png", "test/b/1.png"], [], "holds 'test' but no 'train' folder"),
        (["train/1.png", "test/1.png"], [], "train holds pictures but no class folders"),
        (
            [f"{p}/{c}/1.png" for p in ("train", "val", "valid") for c in "ab"],
            [],
            "holds both 'val' and 'valid', two folders for val",
        ),
        (
            ["train/a/1.png", "train/b/1.png", "test/c/1.png"],
            [],
            "test/c is a class that the training folder does not have\n.* has: a, b",
        ),
    ],
)
def test_a_folder_that_is_laid_out_otherwise_is_explained(
    write_pictures: Write, tmp_path: Path, names: list[str], folders: list[str], message: str
) -> None:
    root = tmp_path / "pictures"
    for folder in ["", *folders]:
        (root / folder).mkdir()
    if names != ["a.txt/none"]:
        write_pictures(*names)
    with pytest.raises(DataError, match=f"(?s){message}"):
        load_folder(root)


def test_damaged_pictures_are_named_and_left_out(write_pictures: Write) -> None:
    root = write_pictures(*FLAT, "train.txt.png")
    (root / "ant" / "3.png").write_bytes((root / "ant" / "3.png").read_bytes()[:-90])
    (root / "bee" / "zero.jpg").write_bytes(b"")
    (root / "bee" / "photo.heic").write_bytes(b"0000ftypheic")
    (root / "bee" / "notes.txt").write_text("no picture, and it does not claim to be one")
    (root / ".hidden.png").write_bytes(b"")
    dataset = load_folder(root)
    assert len(dataset.train) + len(dataset.test) == 19
    assert sorted((Path(p.where).name, p.why) for p in dataset.problems) == [
        ("3.png", "is damaged: image file is truncated"),
        ("photo.heic", "is not a picture, or its beginning is damaged"),
        ("train.txt.png", "lies in no class folder"),
        ("zero.jpg", "is empty (0 bytes)"),
    ]
    with pytest.raises(DataError, match=r"train\.txt\.png lies in no class folder"):
        load_folder(root, Reading(strict=True))
    (root / "train.txt.png").unlink()
    with pytest.raises(DataError, match=r"is (damaged|empty|not a picture)"):
        load_folder(root, Reading(strict=True))


def test_the_split_does_not_depend_on_what_is_damaged(write_pictures: Write) -> None:
    root = write_pictures(*FLAT)
    before = load_folder(root)
    victim = before.train.names[0]
    (root / victim).write_bytes(b"")
    after = load_folder(root)
    assert after.test.names == before.test.names
    assert list(after.train.names) == list(before.train.names)[1:]


def test_a_class_without_readable_pictures_is_an_error(write_pictures: Write) -> None:
    root = write_pictures(*(f"train/{n}" for n in FLAT), "test/ant/1.png")
    for path in (root / "train" / "bee").iterdir():
        path.write_text("no picture")
    with pytest.raises(DataError, match=r"no picture of class 'bee' can be read\nThe first of 10"):
        load_folder(root)
    (root / "test" / "ant" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the test pictures can be read"):
        load_folder(root)


@pytest.mark.parametrize(("height", "size"), [(40, 32), (41, 64), (80, 64), (81, 128)])
def test_the_size_follows_the_median_shorter_side(
    write_pictures: Write, height: int, size: int
) -> None:
    root = write_pictures(*FLAT, size=(height, 100))
    assert load_folder(root).format.size == (size, size)
    assert load_folder(root, Reading(image_size=9)).format.size == (9, 9)


def test_grey_pictures_stay_grey_unless_one_has_colour(write_pictures: Write) -> None:
    root = write_pictures(*FLAT, mode="L")
    assert load_folder(root).format.channels == 1
    assert (
        load_folder(root, Reading(channels=3)).train.pictures.batch(torch.tensor([0])).shape[1] == 3
    )
    write_pictures(*FLAT[:1])
    assert load_folder(root).format.channels == 3


def test_streamed_and_in_memory_are_the_same_pixels(write_pictures: Write) -> None:
    root = write_pictures(*FLAT, size=(40, 52))
    memory = load_folder(root, Reading(image_size=16))
    disk = load_folder(root, Reading(image_size=16, memory_limit_bytes=20 * 3 * 16 * 16 - 1))
    assert isinstance(memory.train.pictures, MemoryPictures)
    assert isinstance(disk.train.pictures, FilePictures)
    assert disk.train.names == memory.train.names
    order = torch.tensor([3, 1, 15, 3])
    expected = memory.train.pictures.batch(order)
    assert torch.equal(disk.train.pictures.batch(order), expected)
    assert torch.equal(disk.train.select(order).pictures.batch(torch.arange(4)), expected)


def test_what_is_decoded_into_memory_is_reported(write_pictures: Write) -> None:
    root = write_pictures(*FLAT)
    reports: list[tuple[int, int]] = []

    def report(done: int, count: int) -> None:
        reports.append((done, count))

    load_folder(root, Reading(report=report))
    assert reports == [(16, 20), (20, 20)]
    load_folder(root, Reading(report=report, memory_limit_bytes=0))
    assert len(reports) == 2


def test_a_streamed_folder_begins_without_reading_all(write_pictures: Write) -> None:
    root = write_pictures(*(f"{c}/{i:03}.png" for c in "ab" for i in range(100)))
    (root / "a" / "001.png").write_bytes(b"none of the 64 that are looked at")
    dataset = load_folder(root, Reading(memory_limit_bytes=0))
    assert dataset.problems == ()
    assert len(dataset.train) + len(dataset.test) == 200


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".zip"])
@pytest.mark.parametrize("inside", ["", "wrapper/", "two/wrappers/"])
def test_an_archive_is_the_folder_that_it_holds(
    write_pictures: Write, tmp_path: Path, ending: str, inside: str
) -> None:
    names = [f"{p}/{c}/{i}.png" for p in ("train", "test") for c in "ab" for i in range(2)]
    root = write_pictures(*names)
    path = tmp_path / f"photos{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(root / name, inside + name)
    else:
        with tarfile.open(path, "w" if ending == ".tar" else "w:gz") as archive:
            for name in names:
                archive.add(root / name, inside + name)
    packed, plain = load_folder(path), load_folder(root)
    assert packed.name == "photos"
    assert packed.train.names == plain.train.names
    assert packed.class_names == plain.class_names
    every = torch.arange(4)
    assert torch.equal(packed.test.pictures.batch(every), plain.test.pictures.batch(every))


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
def test_an_archive_is_streamed_where_its_pictures_do_not_fit(
    write_pictures: Write, tmp_path: Path, ending: str
) -> None:
    root = write_pictures(*FLAT, size=(64, 64))
    path = tmp_path / f"photos{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in FLAT:
                archive.write(root / name, name)
    else:
        with tarfile.open(path, "w" if ending == ".tar" else "w:gz") as archive:
            archive.add(root, "photos")
    streamed = load_folder(path, Reading(image_size=256, memory_limit_bytes=1_000_000))
    plain = load_folder(root, Reading(image_size=256))
    assert isinstance(streamed.train.pictures, FilePictures)
    every = torch.arange(16)
    assert torch.equal(streamed.train.pictures.batch(every), plain.train.pictures.batch(every))


def test_a_damaged_or_too_large_archive_is_explained(write_pictures: Write, tmp_path: Path) -> None:
    root = write_pictures(*FLAT, size=(64, 64))
    path = tmp_path / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root, "photos")
    with pytest.raises(DataError, match=r"holds more than 20,000 bytes.*\nUnpack it"):
        load_folder(path, Reading(memory_limit_bytes=20_000))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match=r"photos\.tar\.gz cannot be read as an archive"):
        load_folder(path)
    plain = tmp_path / "photos.tar"
    with tarfile.open(plain, "w") as archive:
        archive.add(root, "photos")
    plain.write_bytes(plain.read_bytes()[:60_000])
    with pytest.raises(DataError, match=r"photos\.tar cannot be read as an archive"):
        load_folder(plain)
    (tmp_path / "b.zip").write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"b\.zip cannot be read as an archive"):
        load_folder(tmp_path / "b.zip")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes need a Unix")
def test_links_are_followed_and_loops_end(write_pictures: Write, tmp_path: Path) -> None:
    root = write_pictures(*FLAT)
    (root / "ant").rename(tmp_path / "ants elsewhere")
    (root / "ant").symlink_to(tmp_path / "ants elsewhere")
    (root / "bee" / "loop").symlink_to(root)
    (root / "bee" / "itself.png").symlink_to(root / "bee" / "itself.png")
    (root / "bee" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(root / "bee" / "pipe.png")
    dataset = load_folder(root)
    assert len(dataset.train) + len(dataset.test) == 20
    assert sorted(Path(problem.where).name for problem in dataset.problems) == [
        *("gone.png", "itself.png", "pipe.png"),
    ]


def test_folders_beside_the_splits_are_named(write_pictures: Write) -> None:
    names = [f"{p}/{c}/1.png" for p in ("train", "test") for c in "ab"]
    dataset = load_folder(write_pictures(*names, "extra/1.png", "train/1.png"))
    assert [(Path(p.where).name, p.why) for p in dataset.problems] == [
        ("1.png", "lies in no class folder"),
        ("extra", "is none of train, val and test, and was not read"),
    ]


def test_real_photographs(real_data: Path) -> None:
    dataset = load_folder(real_data / "photos" / "hymenoptera.tar.gz", Reading(image_size=32))
    assert dataset.class_names == ("ants", "bees")
    assert torch.as_tensor(dataset.train.targets["label"]).bincount().tolist() == [123, 121]
    assert torch.as_tensor(dataset.test.targets["label"]).bincount().tolist() == [70, 83]
    assert dataset.problems == ()
    assert dataset.format.channels == 3
