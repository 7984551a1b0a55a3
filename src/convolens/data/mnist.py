"""MNIST and the two sets that share its files' form: Fashion-MNIST and Kuzushiji-MNIST."""

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convolens.data.base import Dataset, MemoryPictures, Split
from convolens.data.picture import PictureFormat, fit_pixels
from convolens.data.root import download
from convolens.errors import DataError

MNIST_FORMAT = PictureFormat(channels=1, size=(28, 28), fit="pad", background=0)

CLASS_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mnist": tuple("0123456789"),
        "fashion-mnist": (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    }
)
# The class of torchvision.datasets that knows the addresses; it also names the folder.
_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MNIST_LABELS_MD5 = "a25bea736e30d166cdddb491f175f624"  # of the unpacked training labels


def load_idx_set(name: str, *, root: Path, format: PictureFormat = MNIST_FORMAT) -> Dataset:
    """Reads `mnist`, `fashion-mnist` or `kmnist` from the root, or downloads it into the root.

    The four idx files, gzipped or not, are looked for in ROOT/name, in torchvision's
    ROOT/Name/raw and ROOT/Name, and in ROOT itself, unless ROOT is named after another of the
    three sets, whose files have the same names.

    Source: LeCun, Cortes and Burges (1998), The MNIST database; Xiao et al. (2017),
            arXiv:1708.07747; Clanuwat et al. (2018), arXiv:1812.01718.
    Raises: DataError: when a file is truncated, or is not what its name says.
            UnavailableError: when the files are neither there nor to be had.
    """
    paths = _find(name, root) or _download(name, root)
    with ThreadPoolExecutor(2) as pool:  # zlib lets other threads run while it unpacks
        train_x, train_y, test_x, test_y = pool.map(read_idx, paths)
    if name != "mnist" and _is_mnist(train_y):
        raise DataError(f"{paths[1]} belongs to mnist, not to {name}")
    return Dataset(
        name=name,
        class_names=CLASS_NAMES[name],
        format=format,
        train=_split(train_x, train_y, paths[:2], "train", format),
        val=None,
        test=_split(test_x, test_y, paths[2:], "test", format),
    )


def _is_mnist(labels: NDArray[np.uint8]) -> bool:
    head = b"\0\0\x08\x01" + len(labels).to_bytes(4)
    return hashlib.md5(head + labels.tobytes()).hexdigest() == _MNIST_LABELS_MD5


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Reads an idx file of unsigned bytes, gzipped or not.

    The file begins with 0, 0, 8 (unsigned byte), the number of dimensions d, and d sizes as
    big-endian 32-bit integers; the values follow.

    Raises: DataError: when the file is not of this form, or longer or shorter than it says.
    """
    try:
        content = memoryview(path.read_bytes())
        if path.suffix != ".gz":
            head, pieces = content[:16], iter([content])
        else:
            head = memoryview(zlib.decompressobj(wbits=31).decompress(content, 16))
            pieces = _unpacked(content)
        num_dims = head[3] if len(head) > 3 else 0
        begin = 4 + 4 * num_dims
        if bytes(head[:3]) != b"\0\0\x08" or not 1 <= num_dims <= 3 or len(head) < begin:
            raise DataError(f"{path} is not an idx file of unsigned bytes")
        shape = [int.from_bytes(head[4 + 4 * d : 8 + 4 * d]) for d in range(num_dims)]
        whole = _gathered(pieces, begin + math.prod(shape))
    except (OSError, zlib.error, MemoryError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if whole is None:
        raise DataError(
            f"{path} is truncated or damaged: its header promises {math.prod(shape):,} values"
        )
    return whole[begin:].reshape(shape)


def _unpacked(content: memoryview) -> Iterator[memoryview]:
    unpack = zlib.decompressobj(wbits=31)
    for begin in range(0, len(content), 1 << 18):
        yield memoryview(unpack.decompress(content[begin : begin + (1 << 18)]))
    if not unpack.eof:
        raise zlib.error("the file ends too early")


def _gathered(pieces: Iterator[memoryview], expected: int) -> NDArray[np.uint8] | None:
    """The bytes of the pieces, or None where they are not as many as expected."""
    if expected > 1 << 34:  # more than such a set can hold: do not reserve it
        return None
    whole = np.empty(expected, np.uint8)
    filled = 0
    for piece in pieces:
        if filled + len(piece) > expected:
            return None
        whole[filled : filled + len(piece)] = piece
        filled += len(piece)
    return whole if filled == expected else None


def _split(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    paths: list[Path],
    part: str,
    format: PictureFormat,
) -> Split:
    if images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise DataError(f"expected pictures of 28 x 28 in {paths[0]}, received {images.shape}")
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"expected {len(images):,} labels in {paths[1]}, one a picture, received {labels.shape}"
        )
    if labels.max() > 9:
        raise DataError(f"expected labels 0..9 in {paths[1]}, received {labels.max()}")
    return Split(
        pictures=MemoryPictures(_pixels(images, format)),
        targets={"label": torch.from_numpy(labels.astype(np.int64))},
        names=[f"{part} {index}" for index in range(len(images))],
    )


def _pixels(images: NDArray[np.uint8], format: PictureFormat) -> Tensor:
    return fit_pixels(torch.from_numpy(images).unsqueeze(1), format)


def _find(name: str, root: Path) -> list[Path] | None:
    folder = _TORCHVISION[name]
    for place in (root / name, root / folder / "raw", root / folder, root):
        if place == root and _named_after_another(name, root):
            continue
        found = [_present(place / file) for file in _FILES]
        if all(found):
            return [path for path in found if path]
    return None


def _present(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def _named_after_another(name: str, root: Path) -> bool:
    """Whether ROOT, or the folder above its `raw`, bears the name of another set."""
    whole = root.absolute()
    own = whole.parent.name if whole.name.lower() == "raw" else whole.name
    plain = own.lower().replace("-", "").replace("_", "")
    others = {other.replace("-", "") for other in _TORCHVISION if other != name}
    return plain in others


def _download(name: str, root: Path) -> list[Path]:
    from torchvision import datasets  # takes seconds to import, and is rarely needed

    source = getattr(datasets, _TORCHVISION[name])
    folder = root / _TORCHVISION[name] / "raw"
    hint = f"Put {', '.join(_FILES)} (each as it is or as .gz) into {root / name}."
    paths = []
    for file, md5 in source.resources:
        urls = [mirror + file for mirror in source.mirrors]
        ready = _present(folder / file.removesuffix(".gz"))
        paths.append(
            ready or download(urls, folder, file_name=file, md5=md5, dataset=name, hint=hint)
        )
    return paths
