"""A folder, or an archive of one, with one folder of pictures per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from convolens.data.base import Dataset, MemoryPictures, Pictures, Problem, Split
from convolens.data.files import FilePictures, Source, check_all, decode_all
from convolens.data.layout import Part, arrange
from convolens.data.picture import PictureFormat, picture_header
from convolens.data.tree import Tree, is_archive, read_archive, walk_folder
from convolens.errors import DataError

MEMORY_LIMIT_BYTES = 2 << 30
_SAMPLE = 64
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


def load_folder(
    path: Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    strict: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> Dataset:
    """Reads an image folder, or a tar or zip file of one.

    Pictures that cannot be read are left out and named in `problems`.

    Args:
        image_size: side of the square that pictures are cut to [px]; None chooses 32, 64 or 128
            after the median shorter side of a sample (at most 40, at most 80, more).
        channels: 1 or 3; None chooses 1 where a sample holds grey pictures only.
        strict: raise for the first problem instead.
        memory_limit_bytes: more than that in decoded pictures, and they stay on disk.
    Raises: DataError: when the folder is not laid out as expected, or a class is left without
            a readable picture.
    """
    tree = read_archive(path, memory_limit_bytes) if is_archive(path) else walk_folder(path)
    return picture_dataset(
        tree,
        name=_plain_name(path),
        image_size=image_size,
        channels=channels,
        strict=strict,
        memory_limit_bytes=memory_limit_bytes,
    )


def picture_dataset(
    tree: Tree,
    *,
    name: str,
    image_size: int | None = None,
    channels: int | None = None,
    strict: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> Dataset:
    """Does what `load_folder` does, for what has been found already."""
    layout = arrange(tree)
    if strict and layout.problems:
        raise DataError(f"{layout.problems[0].where} {layout.problems[0].why}")
    format = _format(tree, [place for place, _ in layout.parts["train"]], image_size, channels)
    parts: dict[Part, Split] = {}
    problems = list(layout.problems)
    total_bytes = sum(map(len, layout.parts.values())) * format.channels * format.size[0] ** 2
    for part, members in layout.parts.items():
        chosen = _Chosen(
            names=[tree.files[place][0] for place, _ in members],
            sources=[tree.files[place][1] for place, _ in members],
            wheres=[tree.place(tree.files[place][0]) for place, _ in members],
            labels=[label for _, label in members],
        )
        parts[part], errors = _read_split(
            chosen, format, in_memory=total_bytes <= memory_limit_bytes
        )
        if strict and errors:
            raise errors[min(errors)]
        problems += [_problem(chosen.wheres[i], errors[i]) for i in sorted(errors)]
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
class _Chosen:
    """The pictures of one split, side by side."""

    names: Sequence[str]
    sources: Sequence[Source]
    wheres: Sequence[str]
    labels: Sequence[int]


def _read_split(
    chosen: _Chosen, format: PictureFormat, *, in_memory: bool
) -> tuple[Split, Mapping[int, DataError]]:
    pictures: Pictures
    if in_memory:
        pixels, errors = decode_all(chosen.sources, chosen.wheres, format)
        pictures = MemoryPictures(pixels)
    else:
        paths = tuple(source for source in chosen.sources if isinstance(source, Path))
        if len(paths) < len(chosen.sources):
            raise DataError(
                "the archive's pictures do not fit in memory at "
                f"{format.size[0]} x {format.size[1]}",
                hint="Unpack it and give the folder instead, or choose a smaller image size.",
            )
        errors = check_all(paths, chosen.wheres, format)
        pictures = FilePictures(paths, format)
    labels = torch.tensor(chosen.labels, dtype=torch.int64)
    split = Split(pictures=pictures, targets={"label": labels}, names=chosen.names)
    if errors:
        good = torch.tensor([i for i in range(len(split)) if i not in errors], dtype=torch.int64)
        split = split.select(good)
    return split, errors


def _problem(where: str, error: DataError) -> Problem:
    return Problem(where=where, why=error.message.removeprefix(where).strip())


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
            channels = 1 if modes and modes <= _GREY_MODES else 3
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


def _plain_name(path: Path) -> str:
    name = path.resolve().name
    return name.split(".")[0] or name if is_archive(path) else name
