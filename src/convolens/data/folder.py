"""A folder, or an archive of one, with one folder of pictures per class."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from convolens.data.base import Dataset, MemoryPictures, Problem, Split
from convolens.data.files import FilePictures, ProblemLog, Report, decode_all, problem_of
from convolens.data.layout import Layout, Part, arrange
from convolens.data.picture import PictureFormat, picture_header
from convolens.data.source import Source
from convolens.data.tree import Tree, is_archive, read_archive, walk_folder
from convolens.errors import DataError

MEMORY_LIMIT_BYTES = 2 << 30
_SAMPLE = 64
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the pictures of a folder or an archive are read.

    Args:
        image_size: side of the square that pictures are cut to [px]; None chooses 32, 64 or 128
            after the median shorter side of a sample (at most 40, at most 80, more).
        channels: 1 or 3; None chooses 1 where a sample holds grey pictures only.
        strict: raise for the first problem instead of naming it.
        memory_limit_bytes: where the decoded pictures take more, they are streamed: decoded by
            threads each time a batch wants them.
        workers: how many threads stream; 0 is none, -1 chooses.
        report: is told how many pictures of how many are decoded, while they are decoded into
            memory.
    """

    image_size: int | None = None
    channels: int | None = None
    strict: bool = False
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES
    workers: int = -1
    report: Report | None = None


def load_folder(path: Path, reading: Reading = Reading()) -> Dataset:
    """Reads an image folder, or a tar or zip file of one.

    Pictures that cannot be read are left out and named in `problems`; where pictures are
    streamed, they are met only then, and `new_problems` names them.

    Raises: DataError: when the folder is not laid out as expected, or a class is left without
            a readable picture.
    """
    archive = is_archive(path)
    tree = read_archive(path, reading.memory_limit_bytes) if archive else walk_folder(path)
    return picture_dataset(tree, arrange(tree), plain_name(path), reading)


def picture_dataset(tree: Tree, layout: Layout, name: str, reading: Reading) -> Dataset:
    """Does what `load_folder` does, for what has been found and arranged already."""
    if reading.strict and layout.problems:
        raise DataError(f"{layout.problems[0].where} {layout.problems[0].why}")
    train = [place for place, _ in layout.parts["train"]]
    format = _format(tree, train, reading.image_size, reading.channels)
    chosen = {
        part: Chosen(
            names=[tree.files[place][0] for place, _ in members],
            sources=[tree.files[place][1] for place, _ in members],
            targets={"label": torch.tensor([label for _, label in members], dtype=torch.int64)},
        )
        for part, members in layout.parts.items()
    }
    parts, damaged = make_splits(chosen, tree.where, format, reading)
    problems = [*layout.problems, *damaged]
    _check_complete(parts, layout.class_names, tree.where, problems)
    return Dataset(
        name=name,
        class_names=layout.class_names,
        format=format,
        train=parts["train"],
        val=parts.get("val"),
        test=parts["test"],
        problems=tuple(problems),
        notes=layout.notes,
    )


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The pictures of one split, side by side.

    Args:
        names: relative to the folder or archive.
        sources: where each is.
        targets: as those of a Split.
    """

    names: Sequence[str]
    sources: Sequence[Source]
    targets: Mapping[str, Tensor | list[Any]]


def make_splits(
    chosen: Mapping[Part, Chosen], where: str, format: PictureFormat, reading: Reading
) -> tuple[dict[Part, Split], tuple[Problem, ...]]:
    """Splits with their pictures in memory where all of them fit there, and streamed otherwise.

    Args:
        where: the folder or archive.
    Returns: the splits, and the damaged pictures; those are left out of a split in memory.
    Raises:  DataError: when one is damaged and `reading.strict` is set.
    """
    count = sum(len(part.names) for part in chosen.values())
    in_memory = count * format.channels * math.prod(format.size) <= reading.memory_limit_bytes
    parts: dict[Part, Split] = {}
    problems: list[Problem] = []
    log, before = ProblemLog(), 0
    for part, own in chosen.items():
        if in_memory:
            report = _counting(reading.report, before, count)
            wheres = [f"{where}/{name}" for name in own.names]
            parts[part], errors = _decoded(own, wheres, format, report)
            if reading.strict and errors:
                raise errors[min(errors)]
            problems += [problem_of(wheres[i], errors[i]) for i in sorted(errors)]
        else:
            parts[part] = _streamed(own, where, format, reading, log)
        before += len(own.names)
    return parts, tuple(problems)


def _decoded(
    chosen: Chosen,
    wheres: Sequence[str],
    format: PictureFormat,
    report: Callable[[int], None] | None,
) -> tuple[Split, Mapping[int, DataError]]:
    pixels, errors = decode_all(chosen.sources, wheres, format, report)
    split = Split(pictures=MemoryPictures(pixels), targets=chosen.targets, names=chosen.names)
    if errors:
        good = torch.tensor([i for i in range(len(split)) if i not in errors], dtype=torch.int64)
        split = split.select(good)
    return split, errors


def _streamed(
    chosen: Chosen, where: str, format: PictureFormat, reading: Reading, log: ProblemLog
) -> Split:
    pictures = FilePictures(
        sources=chosen.sources,
        names=chosen.names,
        where=where,
        format=format,
        workers=reading.workers,
        strict=reading.strict,
        log=log,
    )
    return Split(pictures=pictures, targets=chosen.targets, names=chosen.names)


def _counting(report: Report | None, before: int, count: int) -> Callable[[int], None] | None:
    """A report on one split as a report on all of them."""
    return None if report is None else lambda done: report(before + done, count)


def _check_complete(
    parts: Mapping[Part, Split], class_names: tuple[str, ...], where: str, problems: list[Problem]
) -> None:
    for part, split in parts.items():
        if not len(split):
            raise DataError(f"{where}: none of the {part} pictures can be read", _first(problems))
    labels = parts["train"].targets["label"]
    for label, name in enumerate(class_names):
        if not (torch.as_tensor(labels) == label).any():
            raise DataError(f"{where}: no picture of class '{name}' can be read", _first(problems))


def _first(problems: list[Problem]) -> str:
    return f"The first of {len(problems)} problems: {problems[0].where} {problems[0].why}."


def _format(
    tree: Tree, places: list[int], image_size: int | None, channels: int | None
) -> PictureFormat:
    if image_size is None or channels is None:
        modes, sides = _sample(tree, places)
        if channels is None:
            channels = 1 if modes and modes <= GREY_MODES else 3
        if image_size is None:
            side = median(sides) if sides else 0
            image_size = 32 if side <= 40 else 64 if side <= 80 else 128
    return PictureFormat(channels=channels, size=(image_size, image_size), fit="crop")


def _sample(tree: Tree, places: list[int]) -> tuple[set[str], list[int]]:
    """Modes and shorter sides of up to 64 readable pictures, evenly spaced."""
    modes, sides = set(), []
    for place in places[:: max(1, len(places) // _SAMPLE)]:
        name, source = tree.files[place]
        try:
            mode, size = picture_header(source, tree.place(name))
        except DataError:
            continue  # it is named when it is decoded
        modes.add(mode)
        sides.append(min(size))
    return modes, sides


def plain_name(path: Path) -> str:
    """What a folder or an archive is called, without the archive's ending."""
    name = path.resolve().name
    return name.split(".")[0] or name if is_archive(path) else name
