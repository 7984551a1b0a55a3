"""CIFAR-10 and CIFAR-100, from the binary version or from folders of pictures."""

import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from convolens.data.base import Dataset, MemoryPictures, Split
from convolens.data.cache import cached
from convolens.data.files import Report
from convolens.data.folder import MEMORY_LIMIT_BYTES, Reading, picture_dataset
from convolens.data.layout import arrange
from convolens.data.picture import PictureFormat, fit_pixels
from convolens.data.root import download
from convolens.data.tree import ARCHIVE_ENDINGS, Tree, is_archive, read_archive, walk_folder
from convolens.errors import DataError

CIFAR_FORMAT = PictureFormat(channels=3, size=(32, 32), fit="crop")

# fmt: off
_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)
_FINE_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard",
    "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse",
    "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
    "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray",
    "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
    "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
    "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class _Variant:
    """What distinguishes the two sets; a record is labels, then 3 x 32 x 32 bytes."""

    name: str
    class_names: tuple[str, ...]
    archive: str
    md5: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    num_label_bytes: int  # the last of them counts


_CIFAR10 = _Variant(
    name="cifar10",
    class_names=_CLASSES,
    archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    train_files=tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
    test_file="test_batch.bin",
    num_label_bytes=1,
)
_CIFAR100 = _Variant(
    name="cifar100",
    class_names=_FINE_CLASSES,
    archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    train_files=("train.bin",),
    test_file="test.bin",
    num_label_bytes=2,
)


def load_cifar10(
    *, root: Path, cache: Path, format: PictureFormat = CIFAR_FORMAT, report: Report | None = None
) -> Dataset:
    """Reads CIFAR-10 from the root, or downloads its binary version into the root.

    In ROOT/cifar10 and in ROOT it looks for `cifar-10-batches-bin`, `cifar-10-binary.tar.gz`,
    and `train` and `test` with one folder of pictures per class, as folders or as tar files.
    What lies in an archive is kept unpacked in the cache folder.

    Args:
        report: is told how many pictures of how many are decoded, where there are any to decode.
    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    Raises: DataError: when a file is damaged.
            UnavailableError: when it is neither there nor to be had.
    """
    return _load(_CIFAR10, root, cache, format, report)


def load_cifar100(
    *, root: Path, cache: Path, format: PictureFormat = CIFAR_FORMAT, report: Report | None = None
) -> Dataset:
    """Reads CIFAR-100, with its 100 fine labels, as `load_cifar10` reads CIFAR-10.

    The names are ROOT/cifar100, `cifar-100-binary` and `cifar-100-binary.tar.gz`.
    """
    return _load(_CIFAR100, root, cache, format, report)


def _load(
    variant: _Variant, root: Path, cache: Path, format: PictureFormat, report: Report | None
) -> Dataset:
    for place in (root / variant.name, root):
        if all((place / variant.folder / file).is_file() for file in _files(variant)):
            return _from_records(variant, _read_folder(variant, place / variant.folder), format)
        if (place / variant.archive).is_file():
            return _from_archive(variant, place / variant.archive, cache, format)
        pair = _picture_pair(place, variant)
        if pair is not None:
            return _from_pictures(variant, pair, cache, format, report)
    hint = (
        f"Put {variant.archive} (the binary version, not the python one) "
        f"into {root / variant.name}."
    )
    archive = download(
        [f"https://www.cs.toronto.edu/~kriz/{variant.archive}"],
        root / variant.name,
        file_name=variant.archive,
        md5=variant.md5,
        dataset=variant.name,
        hint=hint,
    )
    return _from_archive(variant, archive, cache, format)


def _files(variant: _Variant) -> tuple[str, ...]:
    return (*variant.train_files, variant.test_file)


def _read_folder(variant: _Variant, folder: Path) -> dict[str, bytes]:
    try:
        return {file: (folder / file).read_bytes() for file in _files(variant)}
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error


def _from_archive(variant: _Variant, archive: Path, cache: Path, format: PictureFormat) -> Dataset:
    def make() -> Dataset:
        return _from_records(variant, _read_archive(variant, archive), format)

    return cached([archive], str(format), cache, make)


def _read_archive(variant: _Variant, path: Path) -> dict[str, bytes]:
    wanted = set(_files(variant))
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if name in wanted and (file := archive.extractfile(member)) is not None:
                    contents[name] = file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    for name in sorted(wanted - set(contents)):
        raise DataError(f"{path} does not hold {name}, so it is not the binary {variant.name}")
    return contents


def _from_records(
    variant: _Variant, contents: Mapping[str, bytes], format: PictureFormat
) -> Dataset:
    train = [_records(variant, name, contents[name]) for name in variant.train_files]
    test = _records(variant, variant.test_file, contents[variant.test_file])
    return Dataset(
        name=variant.name,
        class_names=variant.class_names,
        format=format,
        train=_split(variant, np.concatenate(train), "train", format),
        val=None,
        test=_split(variant, test, "test", format),
    )


def _records(variant: _Variant, name: str, content: bytes) -> NDArray[np.uint8]:
    length = variant.num_label_bytes + 3 * 32 * 32
    if not content or len(content) % length:
        raise DataError(
            f"{variant.name}: {name} is truncated or damaged: expected a multiple of {length:,} "
            f"bytes, received {len(content):,}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    highest = int(records[:, variant.num_label_bytes - 1].max())
    if highest >= len(variant.class_names):
        raise DataError(
            f"{variant.name}: expected labels 0..{len(variant.class_names) - 1} in {name}, "
            f"received {highest}"
        )
    return records


def _split(
    variant: _Variant, records: NDArray[np.uint8], part: str, format: PictureFormat
) -> Split:
    labels = records[:, variant.num_label_bytes - 1].astype(np.int64)
    values = records[:, variant.num_label_bytes :].reshape(-1, 3, 32, 32).copy()
    return Split(
        pictures=MemoryPictures(fit_pixels(torch.from_numpy(values), format)),
        targets={"label": torch.from_numpy(labels)},
        names=[f"{part} {index}" for index in range(len(records))],
    )


def _picture_pair(place: Path, variant: _Variant) -> tuple[Path, Path] | None:
    folders = (place / "train", place / "test")
    # Any dataset may have folders of these names; the first class tells whose they are.
    if all((folder / variant.class_names[0]).is_dir() for folder in folders):
        return folders
    for ending in ARCHIVE_ENDINGS:
        archives = (place / f"train{ending}", place / f"test{ending}")
        if all(archive.is_file() for archive in archives):
            return archives
    return None


def _from_pictures(
    variant: _Variant,
    pair: tuple[Path, Path],
    cache: Path,
    format: PictureFormat,
    report: Report | None,
) -> Dataset:
    def make() -> Dataset:
        tree = _both(pair)
        reading = Reading(image_size=format.size[0], channels=format.channels, report=report)
        return picture_dataset(tree, arrange(tree), variant.name, reading)

    shown = f"{variant.name} {format}"
    dataset = cached(pair, shown, cache, make) if is_archive(pair[0]) else make()
    if dataset.class_names != variant.class_names:
        raise DataError(
            f"{pair[0]} does not hold {variant.name}: expected {len(variant.class_names)} classes "
            f"from {variant.class_names[0]} to {variant.class_names[-1]}, received "
            f"{len(dataset.class_names)} from {dataset.class_names[0]} to {dataset.class_names[-1]}"
        )
    return dataset


def _both(pair: tuple[Path, Path]) -> Tree:
    """One tree of train/CLASS/… and test/CLASS/…, whether or not the archives say so."""
    files = []
    folders: set[str] = set()
    for part, path in zip(("train", "test"), pair, strict=True):
        tree = read_archive(path, MEMORY_LIMIT_BYTES) if is_archive(path) else walk_folder(path)
        prefix = "" if all(name.startswith(f"{part}/") for name, _ in tree.files) else f"{part}/"
        files += [(prefix + name, source) for name, source in tree.files]
        folders |= {prefix + folder for folder in tree.folders}
        if prefix:
            folders.add(part)
    return Tree(where=str(pair[0].parent), files=tuple(files), folders=frozenset(folders))
