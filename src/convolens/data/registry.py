"""What datasets there are, by name and by path."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from convolens.data.base import Dataset
from convolens.data.bccd import load_bccd
from convolens.data.cache import cached
from convolens.data.camvid import load_camvid
from convolens.data.cifar import CIFAR_FORMAT, load_cifar10, load_cifar100
from convolens.data.digits import DIGITS_FORMAT, load_digits
from convolens.data.files import Report
from convolens.data.folder import MEMORY_LIMIT_BYTES, Reading
from convolens.data.formats import load_path, task_at
from convolens.data.mnist import MNIST_FORMAT, load_idx_set
from convolens.data.picture import PictureFormat
from convolens.data.root import cache_folder
from convolens.data.shapes import SHAPES_FORMAT, load_shapes
from convolens.data.shards import find_shards, load_shards
from convolens.data.tree import ARCHIVE_ENDINGS, is_archive
from convolens.errors import DataError, near_matches


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked for, as every loader receives it."""

    root: Path
    cache: Path
    reading: Reading
    seed: int

    def shown(self, own: PictureFormat) -> PictureFormat:
        """A dataset's own format, with the size and the channels that were asked for."""
        side, channels = self.reading.image_size, self.reading.channels
        size = own.size if side is None else (side, side)
        return replace(own, size=size, channels=channels or own.channels)


@dataclass(frozen=True, kw_only=True)
class NamedDataset:
    """A dataset that can be asked for by name.

    Args:
        line: what it is, in one line.
        load: reads, draws or downloads it.
        task: what it is for where nothing else is said.
    """

    name: str
    line: str
    load: Callable[[Request], Dataset]
    task: str = "classify"


def _digits(request: Request) -> Dataset:
    return load_digits(format=request.shown(DIGITS_FORMAT))


def _shapes(request: Request) -> Dataset:
    return load_shapes(format=request.shown(SHAPES_FORMAT), seed=request.seed)


def _idx(name: str) -> Callable[[Request], Dataset]:
    return lambda request: load_idx_set(name, root=request.root, format=request.shown(MNIST_FORMAT))


def _cifar10(request: Request) -> Dataset:
    return load_cifar10(
        root=request.root,
        cache=request.cache,
        format=request.shown(CIFAR_FORMAT),
        report=request.reading.report,
    )


def _cifar100(request: Request) -> Dataset:
    return load_cifar100(
        root=request.root,
        cache=request.cache,
        format=request.shown(CIFAR_FORMAT),
        report=request.reading.report,
    )


def _camvid(request: Request) -> Dataset:
    return load_camvid(root=request.root, cache=request.cache, reading=request.reading)


def _bccd(request: Request) -> Dataset:
    return load_bccd(root=request.root, cache=request.cache, reading=request.reading)


def _registry(*datasets: NamedDataset) -> Mapping[str, NamedDataset]:
    named = {dataset.name: dataset for dataset in datasets}
    if len(named) < len(datasets):
        raise ValueError("two datasets share a name")
    return MappingProxyType(named)


DATASETS = _registry(
    NamedDataset(
        name="digits",
        line="1,797 handwritten digits of 8x8, grey, shown at 32x32; no download",
        load=_digits,
    ),
    NamedDataset(
        name="shapes",
        line="coloured figures drawn by code, seeded, with targets for every task; no download",
        load=_shapes,
    ),
    NamedDataset(name="mnist", line="70,000 handwritten digits, 28x28, grey", load=_idx("mnist")),
    NamedDataset(
        name="fashion-mnist",
        line="70,000 articles of clothing in 10 classes, 28x28, grey",
        load=_idx("fashion-mnist"),
    ),
    NamedDataset(
        name="kmnist",
        line="70,000 cursive Japanese characters in 10 classes, 28x28, grey",
        load=_idx("kmnist"),
    ),
    NamedDataset(
        name="cifar10", line="60,000 photographs in 10 classes, 32x32, colour", load=_cifar10
    ),
    NamedDataset(
        name="cifar100", line="60,000 photographs in 100 classes, 32x32, colour", load=_cifar100
    ),
    NamedDataset(
        name="camvid",
        line="701 road scenes with a class for every pixel, 11 classes; to be put in the root",
        load=_camvid,
        task="segment",
    ),
    NamedDataset(
        name="bccd",
        line="364 blood smears with boxes around cells of 3 classes; to be put in the root",
        load=_bccd,
        task="detect",
    ),
)


def dataset_names() -> tuple[str, ...]:
    """The names of all datasets that can be asked for by name."""
    return tuple(DATASETS)


def describe_datasets() -> dict[str, str]:
    """One line about each dataset that can be asked for by name."""
    return {name: dataset.line for name, dataset in DATASETS.items()}


def load_dataset(
    name_or_path: str,
    *,
    root: Path,
    image_size: int | None = None,
    channels: int | None = None,
    strict: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    workers: int = -1,
    progress: Report | None = None,
) -> Dataset:
    """Reads a dataset by its name, or a folder, an archive, a COCO file or shards by path.

    A name comes before a path: for a folder that is called `mnist`, say `./mnist`.

    Args:
        root: where named datasets are looked for, and downloaded to.
        image_size: side of the square that pictures are shown at [px], or the longer side where
            they have masks or boxes; None for the dataset's own.
        channels: 1 for grey, 3 for RGB; None for the dataset's own.
        strict: raise for the first picture that cannot be read, instead of leaving it out.
        seed: for datasets that are drawn; splits never depend on it.
        cache: where unpacked archives are kept; None for a folder of the user's.
        memory_limit_bytes: a folder or an archive whose decoded pictures take more is streamed.
        workers: how many threads decode what is streamed; 0 is none, -1 chooses.
        progress: is told how many pictures of how many are decoded, while they are decoded into
            memory.
    Raises:  DataError: when there is no such dataset, or it cannot be used.
             UnavailableError: when it is not in the root and cannot be downloaded.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"expected image_size of at least 1 pixel, received {image_size}")
    if channels not in (None, 1, 3):
        raise DataError(f"expected channels 1 (grey) or 3 (RGB), received {channels}")
    request = Request(
        root=root,
        cache=cache or cache_folder() / "decoded",
        reading=Reading(
            image_size=image_size,
            channels=channels,
            strict=strict,
            memory_limit_bytes=memory_limit_bytes,
            workers=workers,
            report=progress,
        ),
        seed=seed,
    )
    if name_or_path in DATASETS:
        dataset = DATASETS[name_or_path].load(request)
    else:
        dataset = _load_path(name_or_path, request)
    if strict and dataset.problems:
        raise DataError(f"{dataset.problems[0].where} {dataset.problems[0].why}")
    return dataset


def default_task(name_or_path: str) -> str:
    """What a dataset is for where nothing else is said; "classify" where there is none."""
    if name_or_path in DATASETS:
        return DATASETS[name_or_path].task
    path = Path(name_or_path).expanduser()
    if find_shards(name_or_path) is not None or not path.exists():
        return "classify"
    return task_at(_existing_path(name_or_path))


def _existing_path(word: str) -> Path:
    path = Path(word).expanduser()
    if path.is_dir() or (path.is_file() and (is_archive(path) or path.suffix == ".json")):
        return path
    if path.exists():
        raise DataError(
            f"expected a folder or an archive of pictures, or a COCO file, received {word}",
            hint=f"Archives end in {', '.join(ARCHIVE_ENDINGS)}.",
        )
    if "/" in word or "\\" in word or word.startswith(("~", ".")) or is_archive(path):
        raise DataError(f"there is no folder or archive at {word}")
    raise DataError(
        f"unknown dataset '{word}', and there is no folder of that name",
        hint=near_matches(word, DATASETS),
    )


def _load_path(word: str, request: Request) -> Dataset:
    shards = find_shards(word)
    if shards is not None:
        return load_shards(shards, _plain_name(word), request.cache, request.reading)
    path, reading = _existing_path(word), request.reading

    def make() -> Dataset:
        return load_path(path, reading)

    if is_archive(path) and path.is_file():
        return cached([path], f"{reading.image_size} {reading.channels}", request.cache, make)
    return make()


def _plain_name(word: str) -> str:
    """What shards are called: their folder's name, or their own without number and braces."""
    path = Path(word).expanduser()
    if path.is_dir():
        return path.resolve().name
    return re.split(r"[{.]|[-_]?\d", path.name)[0].strip("-_") or path.absolute().parent.name
