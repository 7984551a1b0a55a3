import gzip
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.data.mnist import MNIST_FORMAT, load_idx_set, read_idx
from convolens.data.picture import PictureFormat, fit_with_inversion
from convolens.errors import DataError, UnavailableError

X = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
Y = np.arange(12, dtype=np.uint8) % 10


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4) for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def write_set(folder: Path, *, packed: bool = False, skip: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 12), ("t10k", 5)):
        for name, values in (("images-idx3", X[:count]), ("labels-idx1", Y[:count])):
            file = f"{part}-{name}-ubyte"
            if file == skip:
                continue
            content = idx(values)
            if packed:
                (folder / f"{file}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / file).write_bytes(content)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "below"),
    [
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("mnist", ""),
        ("fashion-mnist", "fashion-mnist"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("kmnist", "KMNIST/raw"),
        ("kmnist", ""),
    ],
)
def test_the_files_are_found_in_every_place(
    tmp_path: Path, name: str, below: str, packed: bool
) -> None:
    write_set(tmp_path / below, packed=packed)
    dataset = load_idx_set(name, root=tmp_path)
    assert np.array_equal(dataset.train.pictures.batch(torch.arange(12))[:, 0].numpy(), X)
    assert torch.as_tensor(dataset.test.targets["label"]).tolist() == Y[:5].tolist()
    assert dataset.test.names[3] == "test 3"
    assert dataset.format == MNIST_FORMAT


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "folder"), [("fashion-mnist", "mnist"), ("mnist", "FashionMNIST/raw")]
)
def test_a_root_named_after_another_set_is_not_read(tmp_path: Path, name: str, folder: str) -> None:
    root = write_set(tmp_path / folder)
    with pytest.raises(UnavailableError, match=f"'{name}' was not found"):
        load_idx_set(name, root=root)


@pytest.mark.usefixtures("no_network")
def test_without_network_it_says_what_to_put_where(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with pytest.raises(UnavailableError) as caught:
        load_idx_set("fashion-mnist", root=root)
    message, hint = str(caught.value).split("\n")
    assert message.endswith("could not be downloaded: no route to host")
    assert hint.startswith("Put train-images-idx3-ubyte, train-labels-idx1-ubyte, ")
    assert hint.endswith(f"into {root / 'fashion-mnist'}.")
    assert list(tmp_path.iterdir()) == []


def test_a_download_fills_the_folder_that_torchvision_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_set(tmp_path / "elsewhere", packed=True)
    asked: list[tuple[str, str]] = []

    def copy(url: str, folder: str, filename: str, md5: str) -> None:
        asked.append((url, md5))
        if "t10k-images" in filename and len(asked) < 4:
            raise URLError("the line went down")
        (Path(folder) / filename).write_bytes((source / filename).read_bytes())

    monkeypatch.setattr("torchvision.datasets.utils.download_url", copy)
    monkeypatch.setattr("torchvision.datasets.KMNIST.mirrors", ["https://example.org/"])
    root = tmp_path / "root"
    with pytest.raises(UnavailableError, match="the line went down"):
        load_idx_set("kmnist", root=root)
    assert len(load_idx_set("kmnist", root=root).train) == 12
    raw = root / "KMNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(
        path.name for path in source.iterdir()
    )
    assert len({url for url, _ in asked}) == 4
    assert len(asked) == 5  # what was there is not downloaded twice
    assert all(len(md5) == 32 for _, md5 in asked)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "is truncated or damaged: its header promises 60 values"),
        (lambda b: b + b"x", "is truncated or damaged"),
        (lambda b: b[:3], "is not an idx file"),
        (lambda b: b"\0\0\x0d" + b[3:], "is not an idx file of unsigned bytes"),
        (lambda b: b"", "is not an idx file"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "is truncated or damaged"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, damage: object, message: str, packed: bool) -> None:
    content = damage(idx(np.zeros((3, 4, 5), np.uint8)))  # type: ignore[operator]
    path = tmp_path / ("a-ubyte.gz" if packed else "a-ubyte")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_truncated_gzip_file_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(Y))[:-cut])
    with pytest.raises(DataError, match=r"a\.gz (cannot be read|is)"):
        read_idx(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match=r"a\.gz cannot be read: .*incorrect header"):
        read_idx(path)


def test_idx_reads_what_was_written(tmp_path: Path) -> None:
    for values in (X, Y, X[:, :, 0]):
        (tmp_path / "a").write_bytes(idx(values))
        assert np.array_equal(read_idx(tmp_path / "a"), values)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("train-labels-idx1-ubyte", Y[:11], "expected 12 labels in .*train-labels"),
        ("t10k-labels-idx1-ubyte", Y[:5] + 9, r"expected labels 0\.\.9 in .*, received 13"),
        ("train-images-idx3-ubyte", X[:, 1:], r"expected pictures of 28 x 28 in .*12, 27, 28"),
        ("t10k-images-idx3-ubyte", X[:0], "expected pictures of 28 x 28"),
    ],
)
def test_files_that_do_not_belong_together_are_named(
    tmp_path: Path, file: str, values: np.ndarray, message: str
) -> None:
    write_set(tmp_path)
    (tmp_path / file).write_bytes(idx(values))
    with pytest.raises(DataError, match=message):
        load_idx_set("mnist", root=tmp_path)


def test_the_files_of_mnist_are_known(real_data: Path, tmp_path: Path) -> None:
    dataset = load_idx_set("mnist", root=real_data)
    labels = torch.as_tensor(dataset.train.targets["label"])
    assert labels.bincount().tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    (tmp_path / "kmnist").symlink_to((real_data / "mnist").resolve())
    with pytest.raises(DataError, match="belongs to mnist, not to kmnist"):
        load_idx_set("kmnist", root=tmp_path)


@pytest.mark.parametrize("size", [28, 32])
def test_a_saved_picture_of_mnist_is_shown_as_the_dataset_shows_it(
    real_data: Path, size: int
) -> None:
    shown_as = PictureFormat(channels=1, size=(size, size), fit="pad", background=0)
    raw = load_idx_set("mnist", root=real_data).test.pictures
    shown = load_idx_set("mnist", root=real_data, format=shown_as).test.pictures
    some = torch.arange(0, 10_000, 250)
    for pixels, expected in zip(raw.batch(some), shown.batch(some), strict=True):
        file = BytesIO()
        Image.fromarray(pixels[0].numpy()).save(file, "PNG")
        for picture in (Image.open(file), Image.fromarray(255 - pixels[0].numpy())):
            fitted, _ = fit_with_inversion(picture, shown_as)
            assert torch.equal(fitted, expected)
