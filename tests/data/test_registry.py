import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convolens.data import registry
from convolens.data.files import FilePictures
from convolens.data.registry import (
    DATASETS,
    NamedDataset,
    dataset_names,
    describe_datasets,
    load_dataset,
)
from convolens.errors import DataError

Write = Callable[..., Path]


def test_the_names_and_their_lines() -> None:
    assert dataset_names() == (
        *(
            "digits",
            "shapes",
            "mnist",
            "fashion-mnist",
            "kmnist",
            "cifar10",
            "cifar100",
            "camvid",
            "bccd",
        ),
    )
    assert set(describe_datasets()) == set(dataset_names())
    for line in describe_datasets().values():
        assert 10 < len(line) < 90
        assert "\n" not in line


def test_a_second_dataset_of_the_same_name_is_an_error() -> None:
    twice = NamedDataset(name="digits", line="again", load=DATASETS["digits"].load)
    with pytest.raises(ValueError, match="two datasets share a name"):
        registry._registry(twice, twice)


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_size_and_channels_are_as_asked(tmp_path: Path, name: str) -> None:
    dataset = load_dataset(name, root=tmp_path, image_size=24, channels=3)
    assert dataset.test.pictures.batch(torch.tensor([0])).shape == (1, 3, 24, 24)
    assert (dataset.format.channels, dataset.format.size) == (3, (24, 24))
    assert dataset.name == name


def test_a_folder_and_an_archive_are_read_by_their_path(
    write_pictures: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_pictures(*(f"{c}/{i}.png" for c in "ab" for i in range(5)))
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(root, "photos")
    cache = tmp_path / "cache"
    folder = load_dataset(str(root), root=tmp_path, cache=cache)
    assert not cache.exists()
    for _ in range(2):
        packed = load_dataset(str(path), root=tmp_path, cache=cache)
        assert packed.train.names == folder.train.names
    assert len(list(cache.iterdir())) == 1
    monkeypatch.chdir(tmp_path)
    assert load_dataset("pictures", root=tmp_path).name == "pictures"


def test_strict_raises_for_what_the_cache_knows_to_be_damaged(
    write_pictures: Write, tmp_path: Path
) -> None:
    root = write_pictures(*(f"{c}/{i}.png" for c in "ab" for i in range(5)))
    (root / "a" / "0.png").write_bytes(b"")
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(root, "photos")
    assert len(load_dataset(str(path), root=tmp_path, cache=tmp_path / "c").problems) == 1
    with pytest.raises(DataError, match=r"photos\.tar/a/0\.png is empty"):
        load_dataset(str(path), root=tmp_path, cache=tmp_path / "c", strict=True)
    with pytest.raises(DataError, match=r"a/0\.png is empty"):
        load_dataset(str(root), root=tmp_path, strict=True)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mnits", "unknown dataset 'mnits', and .*\nDid you mean mnist"),
        ("Fashion_MNIST", "\nDid you mean fashion-mnist"),
        ("./none", r"there is no folder or archive at \./none"),
        ("a/b", "there is no folder or archive at a/b"),
        ("photos.zip", r"there is no folder or archive at photos\.zip"),
        (
            __file__,
            r"expected a folder or an archive of pictures, or a COCO file, received .*\nArch",
        ),
    ],
)
def test_what_is_not_there_is_explained(tmp_path: Path, word: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(word, root=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "expected image_size of at least 1 pixel, received 0"),
        ({"channels": 2}, r"expected channels 1 \(grey\) or 3 \(RGB\), received 2"),
    ],
)
def test_wrong_numbers_are_named(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(
            "digits",
            root=tmp_path,
            image_size=options.get("image_size"),
            channels=options.get("channels"),
        )


def test_a_folder_is_streamed_or_reported_as_asked(write_pictures: Write, tmp_path: Path) -> None:
    root = write_pictures(*(f"{c}/{i}.png" for c in "ab" for i in range(5)))
    reports: list[tuple[int, int]] = []

    def report(done: int, count: int) -> None:
        reports.append((done, count))

    load_dataset(str(root), root=tmp_path, progress=report)
    assert reports == [(8, 10), (10, 10)]
    streamed = load_dataset(str(root), root=tmp_path, memory_limit_bytes=0, workers=3)
    assert isinstance(streamed.train.pictures, FilePictures)
    assert streamed.train.pictures.num_workers == 3
