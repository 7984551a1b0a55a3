"""Boxes on pictures as people have drawn them, mended where that can be, and made a Dataset."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

import torch
from torch import Tensor

from convolens.data.base import Dataset, Problem, Split
from convolens.data.folder import GREY_MODES, Chosen, Reading, make_splits
from convolens.data.layout import Part, complete
from convolens.data.picture import PictureFormat, picture_header
from convolens.data.placement import placement_of
from convolens.data.source import Source, open_source
from convolens.data.splits import rarest
from convolens.data.tree import PICTURE_ENDINGS, Tree
from convolens.errors import DataError

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1 [px]; the second after the last pixel
AnnotationFormat = Literal["voc", "coco", "yolo"]

PARTS: tuple[Part, ...] = ("train", "val", "test")
ANNOTATION_ENDINGS = (*PICTURE_ENDINGS, ".xml", ".json", ".txt", ".yaml", ".yml")
DETECTION_SIDE_PX = 320
_STRIDE_PX = 32
_SAME_PROPORTIONS = 1.02
_SLACK_PX = 0.05  # what rounding to six digits or to tenths of a pixel leaves outside


@dataclass(frozen=True, kw_only=True)
class Box:
    """One object of one picture, in the picture's own pixels.

    Args:
        label: its place in the class names.
        ignore: a crowd or a difficult object, which nobody need find.
    """

    corners: Corners
    label: int
    ignore: bool = False


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """One picture with its objects, maybe none.

    Args:
        name: relative to the folder or archive.
        size: (h, w) [px].
        mode: as Pillow calls its colours.
    """

    name: str
    source: Source
    size: tuple[int, int]
    mode: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """A detection set as it lies on disk.

    Args:
        format: how it is written down.
        where: the folder, archive or file.
        parts: its splits as the source has them, "train" at least.
        words: what the source calls each of them; nothing where all is of one piece.
        problems: what is wrong with it, each with its place; what could be mended was.
        notes: decisions that a person should know of.
    """

    format: AnnotationFormat
    where: str
    class_names: tuple[str, ...]
    parts: Mapping[Part, tuple[Annotated, ...]]
    words: Mapping[Part, str]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Findings:
    """Problems and notes, while a set is read."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, where: str, why: str) -> None:
        self.problems.append(Problem(where=where, why=why))

    def box(
        self,
        where: str,
        corners: Sequence[float],
        size: tuple[int, int],
        *,
        label: int,
        ignore: bool = False,
        first: int = 0,
    ) -> Box | None:
        """The box after `mended`; what is wrong with it is noted."""
        found, why = mended(corners, size, first=first)
        if why:
            self.add(where, why)
        return None if found is None else Box(corners=found, label=label, ignore=ignore)


def mended(
    corners: Sequence[float], size: tuple[int, int], *, first: int = 0
) -> tuple[Corners | None, str]:
    """A box as it can be used, and what is wrong with it; nothing where nothing is.

    Swapped corners are put right, and what reaches outside of the picture is cut off. A box that
    is not finite, has no area or lies outside altogether cannot be used.

    Args:
        corners: x0, y0, x1, y1.
        size: (h, w) of the picture [px].
        first: the number of the first pixel; with 1, corners are numbers of pixels, both included.
    Example:
        >>> mended([30, 5, 10, 20], (100, 100))
        ((10.0, 5.0, 30.0, 20.0), 'box (30, 5, 10, 20): swapped corners, put right')
    """
    named = f"box ({', '.join(f'{x:.6g}' for x in corners)})"
    if len(corners) != 4 or not all(map(math.isfinite, corners)):
        return None, f"{named}: expected four finite numbers; left out"
    ax, ay, bx, by = map(float, corners)
    h, w = size
    if ax == bx or ay == by:
        return None, f"{named}: no area; left out"
    x0, y0, x1, y1 = min(ax, bx) - first, min(ay, by) - first, max(ax, bx), max(ay, by)
    if x1 <= 0 or y1 <= 0 or x0 >= w or y0 >= h:
        return None, f"{named}: outside of the picture of {w}×{h} px; left out"
    wrong = [] if ax < bx and ay < by else ["swapped corners, put right"]
    if max(-x0, -y0, x1 - w, y1 - h) > _SLACK_PX:
        wrong.append(f"reaches outside of the picture of {w}×{h} px, clipped")
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(w)), min(y1, float(h)))
    return inside, f"{named}: {' and '.join(wrong)}" if wrong else ""


def opened(tree: Tree, name: str, source: Source, findings: Findings) -> Annotated | None:
    """A picture without objects yet, or None where it cannot be opened, which is noted."""
    where = tree.place(name)
    try:
        mode, size = picture_header(source, where)
    except DataError as error:
        findings.add(where, error.message.removeprefix(where).strip())
        return None
    return Annotated(name=name, source=source, size=size, mode=mode, boxes=())


def read_text(source: Source, where: str) -> str:
    """A text file's content.

    Raises: DataError: when it cannot be read, or is no text.
    """
    with open_source(source, where) as file:
        try:
            return file.read().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{where} cannot be read as text") from error


def stem(name: str) -> str:
    """A file's name without folders and ending; a stem may hold dots.

    Example:
        >>> stem("images/train/a.b.jpg")
        'a.b'
    """
    return PurePosixPath(name).stem


def note_repeats(parts: Mapping[Part, Iterable[str]], place: str, findings: Findings) -> None:
    """Names the pictures that stand in more than one split, as a test of those is none."""
    seen: dict[str, Part] = {}
    for part in PARTS:
        for name in parts.get(part, ()):
            if seen.setdefault(name, part) != part:
                findings.add(f"{place}/{name}", f"is in both {seen[name]} and {part}")


def detection_dataset(found: Annotations, name: str, reading: Reading) -> Dataset:
    """Pictures of one size with boxes.

    Args:
        reading: with the longer side of the pictures as `image_size`; None takes 320, or less
            where all pictures are smaller. Where all have the same proportions the shorter side
            follows, in multiples of 32, else pictures are square; the rest is filled.
    Raises: DataError: when there are no pictures or no objects to learn from.
    """
    parts, notes = shared_out(found)
    pictures = [picture for members in parts.values() for picture in members]
    channels = reading.channels or (1 if {p.mode for p in pictures} <= GREY_MODES else 3)
    size = fitted_size([p.size for p in pictures], reading.image_size)
    format = PictureFormat(channels=channels, size=size, fit="pad")
    chosen = {part: _chosen(members, format) for part, members in parts.items()}
    splits, damaged = make_splits(chosen, found.where, format, reading)
    problems = (*found.problems, *damaged)
    check_objects(splits, found, problems)
    return Dataset(
        name=name,
        class_names=found.class_names,
        format=format,
        train=splits["train"],
        val=splits.get("val"),
        test=splits["test"],
        problems=problems,
        notes=notes,
        tasks=("detect",),
    )


def shared_out(
    found: Annotations,
) -> tuple[dict[Part, tuple[Annotated, ...]], tuple[str, ...]]:
    """The splits with a test among them, and the notes about it.

    Raises: DataError: when there are no pictures to train with, or too few.
    """
    if not found.parts.get("train"):
        raise DataError(f"{found.where} holds no pictures to train with", first_of(found.problems))
    members = {
        part: tuple(enumerate(rarest([[b.label for b in p.boxes] for p in pictures]).tolist()))
        for part, pictures in found.parts.items()
    }
    layout = complete(
        found.class_names, members, found.words, (), kind="split", share="a fifth of the pictures"
    )
    sources: dict[Part, Part] = {"train": "train", "val": "val", "test": "test"}
    if not found.parts.get("test"):
        sources["test"] = "val" if found.parts.get("val") else "train"
    parts = {
        part: tuple(found.parts[sources[part]][place] for place, _ in chosen)
        for part, chosen in layout.parts.items()
    }
    parts = {part: parts[part] for part in PARTS if part in parts}
    return parts, (*found.notes, *layout.notes)


def fitted_size(
    sizes: Sequence[tuple[int, int]], side: int | None, *, most: int = DETECTION_SIDE_PX
) -> tuple[int, int]:
    """(H, W) for pictures of these sizes.

    Args:
        side: the longer side [px]; None takes `most`, or less where all pictures are smaller.
    Example:
        >>> fitted_size([(480, 640), (960, 1280)], None)
        (256, 320)
        >>> fitted_size([(480, 640), (640, 480)], None)
        (320, 320)
    """
    longer = side or min(most, _whole_strides(max(max(size) for size in sizes)))
    ratios = [h / w for h, w in sizes]
    if max(ratios) > _SAME_PROPORTIONS * min(ratios):
        return longer, longer
    ratio = max(ratios) if max(ratios) < 1 else min(ratios)
    if ratio < 1:
        return min(_whole_strides(longer * ratio), longer), longer
    return longer, min(_whole_strides(longer / ratio), longer)


def _whole_strides(length: float) -> int:
    return _STRIDE_PX * math.ceil(round(length, 3) / _STRIDE_PX)


def _chosen(members: Sequence[Annotated], format: PictureFormat) -> Chosen:
    boxes, labels, ignore = [], [], []
    for picture in members:
        place = placement_of(picture.size, format)
        corners = torch.tensor([b.corners for b in picture.boxes], dtype=torch.float64)
        boxes.append(place.boxes_in(corners.reshape(-1, 4)).float())
        labels.append(torch.tensor([b.label for b in picture.boxes], dtype=torch.int64))
        ignore.append(torch.tensor([b.ignore for b in picture.boxes], dtype=torch.bool))
    targets: dict[str, Tensor | list[Tensor]] = {"boxes": boxes, "box_labels": labels}
    return Chosen(
        names=[picture.name for picture in members],
        sources=[picture.source for picture in members],
        targets={**targets, "box_ignore": ignore},
    )


def check_objects(
    splits: Mapping[Part, Split], found: Annotations, problems: Sequence[Problem]
) -> None:
    """Makes sure that there is something to learn and something to test.

    Raises: DataError: when a split has no picture, or training no object.
    """
    for part, split in splits.items():
        if not len(split):
            raise DataError(
                f"{found.where}: none of the {part} pictures can be read", first_of(problems)
            )
    if not any(len(labels) for labels in splits["train"].targets["box_labels"]):
        raise DataError(f"{found.where}: no training picture has an object", first_of(problems))


def first_of(problems: Sequence[Problem]) -> str | None:
    """A hint that shows one problem of many."""
    if not problems:
        return None
    return f"The first of {len(problems)} problems: {problems[0].where} {problems[0].why}."
