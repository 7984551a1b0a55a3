import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.data import shards
from convolens.data.files import FilePictures
from convolens.data.registry import load_dataset
from convolens.errors import DataError

Members = Sequence[tuple[str, bytes]]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Members, format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def numbered(first: int, labels: Sequence[int]) -> Members:
    """Pictures whose noise and key are counted from `first`, with their labels."""
    pairs = [
        ((f"{first + i:06}.png", png(first + i)), (f"{first + i:06}.cls", str(label).encode()))
        for i, label in enumerate(labels)
    ]
    return [member for pair in pairs for member in pair]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two training shards, one of validation and one of the test."""
    folder = tmp_path / "set"
    write_tar(folder / "train-0000.tar", numbered(0, [0, 1, 2, 0]))
    write_tar(folder / "train-0001.tar", numbered(10, [2, 1]), tarfile.GNU_FORMAT)
    write_tar(folder / "val-0000.tar", numbered(20, [1, 1, 0]))
    write_tar(folder / "test-0000.tar", numbered(30, [2]))
    return folder


def labels_of(split: shards.Sequence[int] | object) -> list[int]:
    return torch.as_tensor(split.targets["label"]).tolist()  # type: ignore[attr-defined]


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_every_picture_stands_beside_its_own_label_and_name(
    root: Path, tmp_path: Path, limit: int
) -> None:
    dataset = load_dataset(str(root), root=tmp_path, cache=tmp_path / "c", memory_limit_bytes=limit)
    assert dataset.name == "set"
    assert dataset.class_names == ("0", "1", "2")
    assert (dataset.problems, dataset.notes) == ((), ())
    assert dataset.val is not None
    found = [labels_of(split) for split in (dataset.train, dataset.val, dataset.test)]
    assert found == [[0, 1, 2, 0, 2, 1], [1, 1, 0], [2]]
    assert dataset.train.names[4] == "train-0001.tar/000010.png"
    assert isinstance(dataset.train.pictures, FilePictures) == (limit == 0)
    order = torch.tensor([5, 0, 4])
    for seed, pixels in zip([11, 0, 10], dataset.train.pictures.batch(order), strict=True):
        with Image.open(io.BytesIO(png(seed))) as image:
            assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("train-{0000..0001}.tar", 6),
        ("train-000{0,1}.tar", 6),
        ("{train,val}-0000.tar", 4),
        ("train-0000.tar", 3),  # one of each class of two is its test
    ],
)
def test_a_pattern_or_a_single_shard(root: Path, tmp_path: Path, pattern: str, count: int) -> None:
    if count == 6:
        write_tar(root / "train-0001.tar", numbered(10, [2, 1, 0, 0, 1]))
    dataset = load_dataset(str(root / pattern), root=tmp_path, cache=tmp_path / "c")
    assert dataset.name == ("train" if pattern.startswith("train") else "set")
    assert len(dataset.train) == count


def test_without_splits_a_fixed_fifth_is_the_test(tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    for n in range(2):
        write_tar(folder / f"pets-{n}.tar", numbered(100 * n, [0, 1] * 5))
    dataset = load_dataset(str(folder), root=tmp_path, cache=tmp_path / "c")
    assert (len(dataset.train), dataset.val, len(dataset.test)) == (16, None, 4)
    assert dataset.notes == (
        "no test shard: a fifth of each class, always the same, is kept for the test",
    )


@pytest.mark.parametrize(
    ("ending", "texts", "listing", "names", "labels"),
    [
        (".cls", ["3", "10", "3"], None, ("3", "10"), [0, 1, 0]),
        (".cls", ["1", "0", "1"], "ant\nbee\n", ("ant", "bee"), [1, 0, 1]),
        (".txt", ["bee", " ant\n", "bee"], None, ("ant", "bee"), [1, 0, 1]),
        (".txt", ["bee", "ant", "bee"], "bee\r\nant", ("bee", "ant"), [0, 1, 0]),
        (".json", ['{"label": 1}', '{"cls": 0}', "1"], None, ("0", "1"), [1, 0, 1]),
        (".json", ['{"class_name": "b"}', '"a"', '"b"'], None, ("a", "b"), [1, 0, 1]),
    ],
)
def test_labels_are_numbers_or_names(
    tmp_path: Path,
    ending: str,
    texts: list[str],
    listing: str | None,
    names: tuple[str, ...],
    labels: list[int],
) -> None:
    folder = tmp_path / "set"
    members = [(f"a/{i}.png", png(i)) for i in range(3)]
    members += [(f"a/{i}{ending}", text.encode()) for i, text in enumerate(texts)]
    for part in ("train", "test"):
        write_tar(folder / f"{part}-0.tar", members)
    if listing is not None:
        (folder / "classes.txt").write_text(listing)
    dataset = load_dataset(str(folder), root=tmp_path, cache=tmp_path / "c")
    assert dataset.class_names == names
    assert labels_of(dataset.train) == labels


def test_what_is_damaged_or_alone_is_named(root: Path, tmp_path: Path) -> None:
    path = root / "train-0001.tar"
    write_tar(
        path, [*numbered(40, [0, 1, 2]), ("alone.png", png(1)), ("b.png", b"x"), ("b.cls", b"0")]
    )
    cut = root / "train-0002.tar"
    write_tar(cut, numbered(50, [0, 1, 2]))
    cut.write_bytes(cut.read_bytes()[:6000])
    write_tar(root / "extra-0.tar", numbered(60, [0]))
    dataset = load_dataset(str(root), root=tmp_path, cache=tmp_path / "c")
    assert [(Path(p.where).name, p.why) for p in dataset.problems] == [
        ("alone.png", "has no label"),
        ("train-0002.tar", "is damaged after picture 1: unexpected end of data"),
        ("extra-0.tar", "is none of train, val and test, and was not read"),
        ("b.png", "is not a picture, or its beginning is damaged"),
    ]
    cut_names = [name for name in dataset.train.names if name.startswith("train-0002.tar")]
    assert cut_names == ["train-0002.tar/000050.png"]
    with pytest.raises(DataError, match=r"alone\.png has no label"):
        load_dataset(str(root), root=tmp_path, cache=tmp_path / "c", strict=True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train-0.tar": numbered(0, [0, 0])}, "all 2 pictures are of one class; two are needed"),
        (
            {"val-0.tar": numbered(0, [0, 1])},
            "shards of val but none of train\nName them train-0000",
        ),
        (
            {"train-0.tar": numbered(0, [0, 1]), "test-0.tar": numbered(9, [2])},
            "the training shards hold no picture of class '2'",
        ),
        (
            {
                "train-0.tar": [
                    (f"{i}{e}", c)
                    for i in range(9)
                    for e, c in ((".png", png(i)), (".txt", f"a {i}".encode()))
                ]
            },
            "9 pictures have 9 different labels, as 'a 0'; they look like captions",
        ),
    ],
)
def test_shards_that_are_laid_out_otherwise_are_explained(
    tmp_path: Path, files: Mapping[str, Members], message: str
) -> None:
    for name, members in files.items():
        write_tar(tmp_path / "set" / name, members)
    with pytest.raises(DataError, match=message):
        load_dataset(str(tmp_path / "set"), root=tmp_path, cache=tmp_path / "c")


def test_missing_shards_and_unknown_classes_are_explained(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 4 shards are missing, as .*train-0002\.tar"):
        load_dataset(str(root / "train-{0000..0003}.tar"), root=tmp_path)
    (root / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(
        DataError, match=r"classes\.txt names 2 classes; '2' is none of them\nIt has: ant, bee"
    ):
        load_dataset(str(root), root=tmp_path, cache=tmp_path / "c")


def test_the_index_is_made_once_and_again_for_the_shard_that_changed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed: list[str] = []
    plain = shards.index_shard

    def counted(path: Path) -> shards.Shard:
        indexed.append(path.name)
        return plain(path)

    monkeypatch.setattr(shards, "index_shard", counted)

    def load() -> list[str]:
        indexed.clear()
        dataset = load_dataset(str(root), root=tmp_path, cache=tmp_path / "c")
        return list(dataset.train.names)

    first = load()
    assert len(indexed) == 4
    assert load() == first
    assert indexed == []
    write_tar(root / "train-0001.tar", numbered(70, [2, 1, 0]))
    os.utime(root / "train-0001.tar", ns=(1, 1))
    assert len(load()) == len(first) + 1
    assert indexed == ["train-0001.tar"]
    (kept,) = (tmp_path / "c").iterdir()
    page = json.loads(kept.read_text())
    for damage in (
        "{",
        json.dumps({**page, "version": 0}),
        json.dumps({"version": 1, "shards": 3}),
    ):
        kept.write_text(damage)
        assert len(load()) == 7
        assert len(indexed) == 4


def test_a_tar_of_class_folders_is_no_shard(
    write_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_pictures("a/1.png", "a/2.png", "b/1.png", "b/2.png")
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(root, "photos")
    assert shards.find_shards(str(path)) is None
    assert load_dataset(str(path), root=tmp_path, cache=tmp_path / "c").class_names == ("a", "b")
