"""What is in a folder of annotated pictures, and everything that is wrong with it."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
from torch import Tensor

from convolens.data.annotations import Annotated, Annotations, shared_out
from convolens.data.base import Dataset, Problem, Split
from convolens.data.files import Report, decode_all, problem_of
from convolens.data.folder import MEMORY_LIMIT_BYTES, Reading, picture_dataset, plain_name
from convolens.data.formats import Kind, annotations_of, opened_path
from convolens.data.layout import Part, arrange
from convolens.data.masks_folder import load_masks
from convolens.data.picture import PictureFormat
from convolens.data.tree import Tree, pictures_of
from convolens.errors import DataError

SMALL_PX, LARGE_PX = 32, 96  # Lin et al. (2014): the sides of squares
_TINY = PictureFormat(channels=3, size=(8, 8), fit="stretch")
_SIDE_PX = 32


@dataclass(frozen=True, kw_only=True)
class ObjectSizes:
    """How large the objects of a detection set are, in the pictures' own pixels.

    Args:
        small, medium, large: objects below 32², below 96², and the others.
        side_px: √(width · height): the least, the tenth, the half, the nine tenths, the greatest.
        share: the same of √(width · height) as a share of the picture's, √(w · h).
    """

    small: int
    medium: int
    large: int
    side_px: tuple[float, ...]
    share: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check has found.

    Args:
        kind: "voc", "coco", "yolo", "masks", or "classes" for a folder for each class.
        unit: what `counts` counts: "objects", "pixels" or "pictures".
        pictures: how many each split has, as training would see them.
        empty: how many of them have no object, for detection sets.
        counts: for each split, how many there are of each class.
        sizes: of the objects of a detection set.
        problems: each with its place; empty for a clean set.
        notes: decisions that a person should know of.
    """

    where: str
    kind: Kind
    unit: str
    class_names: tuple[str, ...]
    pictures: Mapping[str, int]
    empty: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    sizes: ObjectSizes | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as one JSON document."""
        sizes = self.sizes
        return {
            "path": self.where,
            "format": self.kind,
            "unit": self.unit,
            "classes": list(self.class_names),
            "pictures": dict(self.pictures),
            "without_objects": dict(self.empty),
            "counts": {part: dict(own) for part, own in self.counts.items()},
            "sizes": None
            if sizes is None
            else {
                "small": sizes.small,
                "medium": sizes.medium,
                "large": sizes.large,
                "side_px": list(sizes.side_px),
                "share": list(sizes.share),
            },
            "problems": [{"where": p.where, "why": p.why} for p in self.problems],
            "notes": list(self.notes),
        }


def check_dataset_folder(path: str | Path, report: Report | None = None) -> Checked:
    """Reads a folder, an archive or a COCO file completely and names everything that is wrong.

    Every picture is decoded.

    Args:
        report: is told how many pictures of how many are decoded.
    Raises: DataError: when there is nothing at the path that could be checked.
    """
    own = Path(path).expanduser()
    if not own.exists():
        raise DataError(f"there is no folder, archive or file at {path}")
    tree, kind, chosen = opened_path(own, MEMORY_LIMIT_BYTES)
    if not tree.files:
        raise DataError(f"{path} holds no pictures")
    try:
        if kind in ("masks", "classes"):
            return _checked_dataset(own, tree, kind, report)
        return _checked_boxes(tree, kind, annotations_of(tree, kind, chosen), report)
    except DataError as error:
        where = tree.where if not error.message.startswith(tree.where) else ""
        problem = Problem(where=where, why=" ".join(str(error).split("\n")))
        return _empty(tree.where, kind, (problem,))


def _checked_dataset(path: Path, tree: Tree, kind: Kind, report: Report | None) -> Checked:
    name = plain_name(path)
    if kind == "masks":
        dataset = load_masks(tree, name, Reading(report=report))
        return _of_dataset(tree, kind, dataset, "pixels", _pixels)
    pictures = pictures_of(tree)
    reading = Reading(image_size=_SIDE_PX, report=report)
    dataset = picture_dataset(pictures, arrange(pictures), name, reading)
    return _of_dataset(tree, kind, dataset, "pictures", _labels)


def _of_dataset(
    tree: Tree, kind: Kind, dataset: Dataset, unit: str, count: Callable[[Split], Tensor]
) -> Checked:
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    present = {part: split for part, split in splits.items() if split is not None}
    totals = {part: count(split).tolist() for part, split in present.items()}
    return Checked(
        where=tree.where,
        kind=kind,
        unit=unit,
        class_names=dataset.class_names,
        pictures={part: len(split) for part, split in present.items()},
        empty={},
        counts={
            part: {
                name: own[label] if label < len(own) else 0
                for label, name in enumerate(dataset.class_names)
            }
            for part, own in totals.items()
        },
        sizes=None,
        problems=dataset.problems,
        notes=dataset.notes,
    )


def _pixels(split: Split) -> Tensor:
    return torch.as_tensor(split.targets["masks"]).flatten().bincount()


def _labels(split: Split) -> Tensor:
    return torch.as_tensor(split.targets["label"]).bincount()


def _checked_boxes(tree: Tree, kind: Kind, found: Annotations, report: Report | None) -> Checked:
    problems = [*found.problems]
    parts: Mapping[Part, Sequence[Annotated]] = found.parts
    notes = found.notes
    try:
        parts, notes = shared_out(found)
    except DataError as error:
        problems.append(Problem(where=found.where, why=error.message.removeprefix(found.where)))
    every = [picture for own in parts.values() for picture in own]
    wheres = [tree.place(picture.name) for picture in every]
    done = None if report is None else partial(_reported, report, len(every))
    _, errors = decode_all([picture.source for picture in every], wheres, _TINY, done)
    problems += [problem_of(wheres[place], errors[place]) for place in sorted(errors)]
    for where, picture in zip(wheres, every, strict=True):
        problems += _repeated(where, picture, found.class_names)
    problems += _strange_classes(found, parts)
    names = dict(enumerate(found.class_names))
    counts = {part: Counter(b.label for p in own for b in p.boxes) for part, own in parts.items()}
    return Checked(
        where=tree.where,
        kind=kind,
        unit="objects",
        class_names=found.class_names,
        pictures={part: len(own) for part, own in parts.items()},
        empty={part: sum(not p.boxes for p in own) for part, own in parts.items()},
        counts={
            part: {name: own[label] for label, name in names.items()}
            for part, own in counts.items()
        },
        sizes=object_sizes(every),
        problems=tuple(problems),
        notes=notes,
    )


def _reported(report: Report, count: int, done: int) -> None:
    report(done, count)


def object_sizes(pictures: Iterable[Annotated]) -> ObjectSizes | None:
    """How large the objects are; None where there are none."""
    sides, shares = [], []
    for picture in pictures:
        h, w = picture.size
        for box in picture.boxes:
            x0, y0, x1, y1 = box.corners
            sides.append(math.sqrt((x1 - x0) * (y1 - y0)))
            shares.append(sides[-1] / math.sqrt(h * w))
    if not sides:
        return None
    small = sum(side < SMALL_PX for side in sides)
    large = sum(side >= LARGE_PX for side in sides)
    return ObjectSizes(
        small=small,
        medium=len(sides) - small - large,
        large=large,
        side_px=_spread(sides),
        share=_spread(shares),
    )


def _spread(values: Sequence[float]) -> tuple[float, ...]:
    """The least, the tenth, the half, the nine tenths and the greatest."""
    tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return min(values), tenths[0], tenths[4], tenths[8], max(values)


def _repeated(where: str, picture: Annotated, names: Sequence[str]) -> list[Problem]:
    """Boxes that are there more than once, with the same class."""
    counted = Counter((box.corners, box.label) for box in picture.boxes)
    return [
        Problem(
            where=where,
            why=f"{names[label]} box ({', '.join(f'{x:.6g}' for x in corners)}) is there {n} times",
        )
        for (corners, label), n in counted.items()
        if n > 1
    ]


def _strange_classes(
    found: Annotations, parts: Mapping[Part, Sequence[Annotated]]
) -> list[Problem]:
    """Classes that nothing can be learnt about, and names that may be slips of the pen."""
    problems = []
    pictures: dict[int, list[str]] = {}
    learnt = set()
    for part, own in parts.items():
        for picture in own:
            for box in picture.boxes:
                pictures.setdefault(box.label, []).append(picture.name)
                if part == "train":
                    learnt.add(box.label)
    for label, names in pictures.items():
        where, name = f"{found.where}/{names[0]}", found.class_names[label]
        if label not in learnt:
            problems.append(Problem(where=where, why=f"class '{name}' is never in train"))
        elif len(names) == 1 and len(pictures) > 1:
            problems.append(Problem(where=where, why=f"class '{name}' has no other object"))
    alike: dict[str, str] = {}
    for name in found.class_names:
        other = alike.setdefault(name.lower().strip(), name)
        if other != name:
            why = f"classes '{other}' and '{name}' differ in capitals alone"
            problems.append(Problem(where=found.where, why=why))
    return problems


def _empty(where: str, kind: Kind, problems: tuple[Problem, ...]) -> Checked:
    return Checked(
        where=where,
        kind=kind,
        unit="objects",
        class_names=(),
        pictures={},
        empty={},
        counts={},
        sizes=None,
        problems=problems,
        notes=(),
    )
