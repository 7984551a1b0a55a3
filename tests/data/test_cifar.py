import hashlib
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.data.cifar import CIFAR_FORMAT, load_cifar10, load_cifar100
from convolens.data.picture import PictureFormat
from convolens.errors import DataError, UnavailableError

NAMES = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
FILES10 = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]


def records(count: int, num_label_bytes: int, label: int, seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    labels = np.zeros((count, num_label_bytes), np.uint8)
    labels[:, -1] = label
    return np.concatenate((labels, values), axis=1).tobytes()


def write_binary10(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for index, name in enumerate(FILES10):
        (folder / name).write_bytes(records(4, 1, index, index))
    return folder


def write_tar(path: Path, folder: Path, inside: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, inside)
    return path


def write_pictures(folder: Path, names: list[str]) -> Path:
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (index, 2, 3)).save(folder / name / "0000.png")
    return folder


def test_the_binary_version_is_read_from_its_folder(tmp_path: Path) -> None:
    folder = write_binary10(tmp_path / "cifar10" / "cifar-10-batches-bin")
    dataset = load_cifar10(root=tmp_path, cache=tmp_path / "cache")
    assert (len(dataset.train), len(dataset.test)) == (20, 4)
    assert torch.as_tensor(dataset.train.targets["label"])[::4].tolist() == [0, 1, 2, 3, 4]
    first = np.frombuffer((folder / FILES10[0]).read_bytes()[1:3073], np.uint8)
    pixels = dataset.train.pictures.batch(torch.tensor([0]))
    assert np.array_equal(pixels.numpy().ravel(), first)
    assert dataset.class_names == tuple(NAMES)


def test_the_binary_version_is_read_from_its_archive_and_cached(tmp_path: Path) -> None:
    folder = write_binary10(tmp_path / "source")
    write_tar(tmp_path / "cifar-10-binary.tar.gz", folder, "cifar-10-batches-bin")
    first = load_cifar10(root=tmp_path, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    second = load_cifar10(root=tmp_path, cache=tmp_path / "cache")
    every = torch.arange(20)
    assert torch.equal(first.train.pictures.batch(every), second.train.pictures.batch(every))
    grey = PictureFormat(channels=1, size=(16, 16))
    shown = load_cifar10(root=tmp_path, cache=tmp_path / "cache", format=grey)
    assert shown.train.pictures.batch(every).shape == (20, 1, 16, 16)


def test_the_fine_labels_of_cifar100_count(tmp_path: Path) -> None:
    folder = tmp_path / "cifar100" / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "train.bin").write_bytes(records(3, 2, 99, 0))
    (folder / "test.bin").write_bytes(records(2, 2, 0, 1))
    dataset = load_cifar100(root=tmp_path, cache=tmp_path / "cache")
    assert torch.as_tensor(dataset.train.targets["label"]).tolist() == [99, 99, 99]
    assert len(dataset.class_names) == 100
    assert list(dataset.class_names) == sorted(set(dataset.class_names))


@pytest.mark.parametrize("packed", [False, True])
def test_folders_of_pictures_are_read(tmp_path: Path, packed: bool) -> None:
    place = tmp_path / "cifar10"
    for part in ("train", "test"):
        folder = write_pictures(place / part, NAMES)
        if packed:
            write_tar(place / f"{part}.tar.gz", folder, part)
            folder.rename(tmp_path / f"moved-{part}")
    reports: list[tuple[int, int]] = []

    def report(done: int, count: int) -> None:
        reports.append((done, count))

    for _ in range(2):  # decoded, then from the cache
        dataset = load_cifar10(root=tmp_path, cache=tmp_path / "cache", report=report)
        pixels = dataset.test.pictures.batch(torch.arange(10))
        assert pixels[:, 0, 0, 0].tolist() == list(range(10))
        assert torch.as_tensor(dataset.test.targets["label"]).tolist() == list(range(10))
        assert dataset.format == CIFAR_FORMAT
        assert dataset.test.names[0] == "test/airplane/0000.png"
    assert (tmp_path / "cache").exists() == packed
    assert reports == [(10, 20), (20, 20)] * (1 if packed else 2)


def test_pictures_of_another_dataset_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder = write_pictures(tmp_path / "source" / part, ["ant", "bee"])
        write_tar(tmp_path / f"{part}.tar.gz", folder, part)
    with pytest.raises(DataError, match=r"does not hold cifar10: expected 10 classes .* from ant"):
        load_cifar10(root=tmp_path, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (records(4, 1, 1, 0)[:-1], r"test_batch\.bin is truncated or damaged: expected a multiple"),
        (b"", r"test_batch\.bin is truncated"),
        (records(4, 1, 10, 0), r"expected labels 0\.\.9 in test_batch\.bin, received 10"),
    ],
)
def test_damaged_records_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_binary10(tmp_path / "cifar-10-batches-bin")
    (folder / "test_batch.bin").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_cifar10(root=tmp_path, cache=tmp_path / "cache")


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    folder = write_binary10(tmp_path / "source")
    path = write_tar(tmp_path / "cifar-10-binary.tar.gz", folder, "cifar-10-batches-bin")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz is damaged"):
        load_cifar10(root=tmp_path, cache=tmp_path / "cache")
    (folder / "test_batch.bin").unlink()
    write_tar(path, folder, "cifar-10-batches-bin")
    with pytest.raises(DataError, match=r"does not hold test_batch\.bin"):
        load_cifar10(root=tmp_path, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_network_it_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str, folder: str, filename: str, md5: str) -> None:
        assert url == "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
        assert len(md5) == len(hashlib.md5(b"").hexdigest())
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)
    with pytest.raises(UnavailableError) as caught:
        load_cifar100(root=tmp_path, cache=tmp_path / "cache")
    assert str(caught.value).split("\n")[1] == (
        "Put cifar-100-binary.tar.gz (the binary version, not the python one) "
        f"into {tmp_path / 'cifar100'}."
    )
