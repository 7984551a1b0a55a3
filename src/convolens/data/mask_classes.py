"""Which number or colour of a mask stands for which class."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convolens.data.annotations import Findings, read_text
from convolens.data.picture import decode_mask
from convolens.data.placement import VOID
from convolens.data.source import Source
from convolens.data.tree import Tree
from convolens.errors import DataError

Colour = tuple[int, int, int]

_VOID_NAMES = frozenset({"void", "ignore", "unlabelled", "unlabeled"})
_MOST_CLASSES = 255
# fmt: off
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
_HINT = (
    'classes.json holds {"classes": [{"id": 0, "name": "sky", "rgb": [128, 128, 128]}, …], '
    '"ignore_index": 11}, or a list of names.'
)


@dataclass(frozen=True, kw_only=True)
class MaskClasses:
    """The classes of masks.

    Args:
        names: one for each value 0 to K − 1 of the masks that come out.
        numbers: the stored number of each class to its value; 255 is void.
        colours: the same for stored colours.
    """

    names: tuple[str, ...]
    numbers: Mapping[int, int]
    colours: Mapping[Colour, int]

    @classmethod
    def of(cls, names: Iterable[str]) -> "MaskClasses":
        """Classes that are numbered from 0; 255 is void."""
        own = tuple(names)
        numbers = {number: number for number in range(len(own))}
        return cls(names=own, numbers={**numbers, VOID: VOID}, colours={})

    @property
    def palette(self) -> tuple[Colour, ...]:
        """The colour of each class, if every class has one of its own."""
        each = {value: colour for colour, value in self.colours.items()}
        values = range(len(self.names))
        return tuple(each[v] for v in values) if all(v in each for v in values) else ()

    def read(self, values: Tensor) -> tuple[Tensor, str]:
        """The mask of stored numbers (h, w) or colours (h, w, 3), and what is wrong with it.

        Shape: -> uint8 (h, w)
        """
        known: Mapping[int, int] = self.numbers
        is_colour = values.ndim == 3
        if is_colour:
            known = {_packed(colour): value for colour, value in self.colours.items()}
            red, green, blue = values.long().unbind(-1)
            values = red << 16 | green << 8 | blue
        stored, places, counts = _counted(values)
        table = [known.get(number, VOID) for number in stored]
        strange = [i for i, number in enumerate(stored) if counts[i] and number not in known]
        mask = torch.tensor(table, dtype=torch.uint8)[places]
        if not strange:
            return mask, ""
        share = 100 * sum(counts[i] for i in strange) / values.numel()
        shown = [_shown(stored[place], is_colour) for place in strange[:5]]
        more = " and others" if len(strange) > 5 else ""
        return mask, f"{', '.join(shown)}{more} of no class: {share:.2g} % of its pixels, now void"


def _counted(values: Tensor) -> tuple[list[int], Tensor, list[int]]:
    """The numbers that may occur, for each pixel the place of its number, and how often each is."""
    if values.dtype == torch.uint8:
        places = values.long()
        return list(range(256)), places, places.flatten().bincount(minlength=256).tolist()
    stored, found, counts = np.unique(values.numpy(), return_inverse=True, return_counts=True)
    places = torch.from_numpy(found.reshape(values.shape))
    return stored.tolist(), places, counts.tolist()


def _shown(number: int, is_colour: bool) -> str:
    if not is_colour:
        return f"value {number}"
    return f"colour ({number >> 16}, {number >> 8 & 255}, {number & 255})"


def find_classes(
    tree: Tree, masks: Iterable[tuple[str, Source]], findings: Findings
) -> MaskClasses:
    """The classes that a file of the folder names, else a class for each number that occurs.

    The files are `classes.json`, `classes.txt` or `class_names.txt` (a name a line) and CamVid's
    `label_colors.txt` (red, green, blue and name in each line). A class called void is void.
    Without a file, masks of 0 and 255 alone are background and foreground.

    Args:
        masks: place and source of each; they are read only where no file says what they hold.
    Raises: DataError: when the file cannot be read, or masks of colours have none.
    """
    for name, source in tree.files:
        reader = _READERS.get(PurePosixPath(name).name.lower())
        if reader is not None:
            return _read_with(reader, source, tree.place(name))
    return _from_masks(tree, masks, findings)


def has_class_file(tree: Tree) -> bool:
    """Whether a file says which classes there are."""
    return any(PurePosixPath(name).name.lower() in _READERS for name, _ in tree.files)


def _read_with(reader: Callable[[str], MaskClasses], source: Source, where: str) -> MaskClasses:
    try:
        found = reader(read_text(source, where))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise DataError(f"{where} does not name classes: {error}", hint=_HINT) from error
    if not 0 < len(found.names) < _MOST_CLASSES:
        raise DataError(f"{where} must name 1 to 254 classes", hint=_HINT)
    return found


def _from_json(text: str) -> MaskClasses:
    page: Any = json.loads(text)
    listed = page["classes"] if isinstance(page, dict) else page
    if all(isinstance(item, str) for item in listed):
        return _from_names("\n".join(listed))
    ignored = page.get("ignore_index") if isinstance(page, dict) else None
    items = [
        (int(item.get("id", place)), str(item["name"]), item.get("rgb") or item.get("color"))
        for place, item in enumerate(listed)
    ]
    return _numbered(items, ignored)


def _from_names(text: str) -> MaskClasses:
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if names[:1] == ["__ignore__"]:  # labelme's first line, which stands for -1
        del names[0]
    return _numbered([(number, name, None) for number, name in enumerate(names)], None)


def _from_colours(text: str) -> MaskClasses:
    items: list[tuple[int, str, Any]] = []
    for line in text.splitlines():
        if line.strip():
            *rgb, name = line.split(maxsplit=3)
            items.append((len(items), name.strip(), rgb))
    return _numbered(items, None)


def _numbered(items: Iterable[tuple[int, str, Any]], ignored: int | None) -> MaskClasses:
    names: list[str] = []
    numbers, colours = {VOID: VOID}, {}
    for number, name, rgb in sorted(items, key=lambda item: item[0]):
        is_void = number == ignored or (ignored is None and name.lower() in _VOID_NAMES)
        value = VOID if is_void else len(names)
        if not is_void:
            names.append(name)
        numbers[number] = value
        if rgb is not None:
            red, green, blue = map(int, rgb)
            colours[red, green, blue] = value
    return MaskClasses(names=tuple(names), numbers=numbers, colours=colours)


def _from_masks(tree: Tree, masks: Iterable[tuple[str, Source]], findings: Findings) -> MaskClasses:
    seen: set[int] = set()
    for where, source in masks:
        try:
            values = decode_mask(source, where)
        except DataError:
            continue  # it is named when it is read
        if values.ndim == 3:
            raise DataError(f"{where} holds colours, and no file says what they mean", hint=_HINT)
        seen.update(np.unique(values.numpy()).tolist())
    if seen == {0, VOID}:
        findings.notes.append("masks hold 0 and 255 alone: they are background and foreground")
        return MaskClasses(names=("background", "foreground"), numbers={0: 0, VOID: 1}, colours={})
    highest = max(seen - {VOID}, default=0)
    if highest >= _MOST_CLASSES:
        raise DataError(f"masks hold numbers up to {highest}; classes go to 253", hint=_HINT)
    if highest == len(VOC_CLASSES) and any("SegmentationClass" in f for f in tree.folders):
        return MaskClasses.of(("background", *VOC_CLASSES))
    return MaskClasses.of(f"class {number}" for number in range(highest + 1))


def _packed(colour: Colour) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue


_READERS: Mapping[str, Callable[[str], MaskClasses]] = {
    "classes.json": _from_json,
    "classes.txt": _from_names,
    "labels.txt": _from_names,
    "class_names.txt": _from_names,
    "label_colors.txt": _from_colours,
}
