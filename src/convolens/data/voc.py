"""Boxes in the XML files of PASCAL VOC, one beside each picture or in folders of their own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from xml.etree import ElementTree

from convolens.data.annotations import (
    Annotated,
    Annotations,
    Box,
    Findings,
    note_repeats,
    opened,
    read_text,
    stem,
)
from convolens.data.layout import Part, part_named
from convolens.data.source import Source
from convolens.data.tree import PICTURE_ENDINGS, Tree
from convolens.errors import DataError

PICTURE_FOLDERS = ("jpegimages", "images")
CLASS_FILES = ("classes.txt", "labels.txt")
_LISTS = ("train", "val", "test", "trainval")


@dataclass(frozen=True, kw_only=True)
class _Object:
    where: str
    name: str
    corners: tuple[float, ...]
    difficult: bool


def read_voc(tree: Tree) -> Annotations:
    """Reads pictures and their XML files: JPEGImages and Annotations, or both in one folder.

    Splits are the lists train, val, test (or trainval) of ImageSets/Main, else folders of those
    names. A picture that no list names is left out, with a note. Difficult objects are to be
    ignored. Classes are those of `classes.txt` where there is one, else the names that occur.

    Corners are numbers of pixels from 1, both included; where a sound box of the set begins at 0,
    they are taken as distances from the edge, as many tools write them.

    Source: Everingham et al., The PASCAL Visual Object Classes development kit, section 7.
    """
    findings = Findings()
    files = dict(tree.files)
    pictures = {_key(name): name for name in files if _is_picture(name)}
    places = {_key(name): name for name in files if name.lower().endswith(".xml")}
    _note_unpaired(tree, pictures, places, findings)
    keys, words = _parts(tree, files, pictures, places, findings)
    raw: dict[str, tuple[Annotated, list[_Object]]] = {}
    for key in sorted({key for part in keys.values() for key in part}):
        if key in places and (
            picture := opened(tree, pictures[key], files[pictures[key]], findings)
        ):
            objects = _objects(tree, places[key], files[places[key]], picture.size, findings)
            if objects is not None:
                raw[key] = (picture, objects)
    first = _first_pixel(list(raw.values()))
    if not first:
        findings.notes.append("boxes begin at 0: corners are taken as distances from the edge")
    names = _class_names(tree, files, [o.name for _, objects in raw.values() for o in objects])
    done = {key: _finished(*raw[key], names, first, findings) for key in raw}
    parts = {part: tuple(done[key] for key in own if key in done) for part, own in keys.items()}
    return Annotations(
        format="voc",
        where=tree.where,
        class_names=names,
        parts=parts,
        words=words,
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    )


def has_voc(tree: Tree) -> bool:
    """Whether an XML file stands in a folder Annotations or beside a picture of its name."""
    places = [name for name, _ in tree.files if name.lower().endswith(".xml")]
    if any(PurePosixPath(name).parent.name.lower() == "annotations" for name in places):
        return True
    names = {_key(name) for name in places}
    return bool(names) and any(_is_picture(name) and _key(name) in names for name, _ in tree.files)


def listed_parts(
    tree: Tree, files: Mapping[str, Source], kind: str
) -> dict[Part, list[tuple[str, str, str]]]:
    """The lists of ImageSets/KIND: for each split the key, the list and the line of each picture.

    Raises: DataError: when a list cannot be read.
    """
    found: dict[Part, list[tuple[str, str, str]]] = {}
    lists = {word: f"ImageSets/{kind}/{word}.txt" for word in _LISTS}
    for name, source in files.items():
        for word, ending in lists.items():
            if not f"/{name}".endswith(f"/{ending}"):
                continue
            root = name.removesuffix(ending)
            if word == "trainval" and f"{root}{lists['train']}" in files:
                continue
            text = read_text(source, tree.place(name))
            part = part_named(word) or "train"
            found.setdefault(part, []).extend(
                (f"{root}{line.split()[0]}", name, str(number))
                for number, line in enumerate(text.splitlines(), 1)
                if line.strip()
            )
    return found


def parts_by_folder(names: Mapping[str, str]) -> tuple[dict[Part, list[str]], dict[Part, str]]:
    """Keys by the split that a folder of each name's path stands for, and what those are called.

    Without any such folder all is of one piece.
    """
    parts: dict[Part, list[str]] = {}
    words: dict[Part, str] = {}
    for key, name in names.items():
        folders = PurePosixPath(name).parts[:-1]
        word, part = next(((f, p) for f in folders if (p := part_named(f))), ("", None))
        parts.setdefault(part or "train", []).append(key)
        if part:
            words[part] = word
    return parts, words


def _is_picture(name: str) -> bool:
    folder = PurePosixPath(name).parent.name
    return name.lower().endswith(PICTURE_ENDINGS) and not folder.startswith("Segmentation")


def _key(name: str) -> str:
    """What a picture and its XML file have in common: folder and stem, without their own folders.

    Example: "VOC2007/JPEGImages/7.jpg" and "VOC2007/Annotations/7.xml" have "VOC2007/7".
    """
    path = PurePosixPath(name)
    own = path.parent.name.lower() in (*PICTURE_FOLDERS, "annotations")
    folder = path.parent.parent if own else path.parent
    return str(folder / path.stem)


def _note_unpaired(
    tree: Tree, pictures: Mapping[str, str], places: Mapping[str, str], findings: Findings
) -> None:
    for key in sorted(pictures.keys() - places.keys()):
        findings.add(tree.place(pictures[key]), "has no XML file; left out")
    for key in sorted(places.keys() - pictures.keys()):
        findings.add(tree.place(places[key]), "has no picture")


def _parts(
    tree: Tree,
    files: Mapping[str, Source],
    pictures: Mapping[str, str],
    places: Mapping[str, str],
    findings: Findings,
) -> tuple[dict[Part, list[str]], dict[Part, str]]:
    """The keys of each split, and what the splits are called."""
    listed = listed_parts(tree, files, "Main")
    if not listed.get("train"):
        return parts_by_folder(pictures)
    parts: dict[Part, list[str]] = {}
    for part, lines in listed.items():
        parts[part] = list(dict.fromkeys(key for key, _, _ in lines if key in pictures))
        for key, name, line in lines:
            if key not in pictures and key not in places:  # else its XML file has been named
                findings.add(f"{tree.place(name)} line {line}", f"picture {stem(key)} is missing")
    note_repeats(parts, tree.where, findings)
    rest = len(pictures.keys() - {key for own in parts.values() for key in own})
    if rest:
        findings.notes.append(f"in no list of ImageSets/Main, and left out: {rest} pictures")
    return parts, {part: part for part in parts}


def _objects(
    tree: Tree, name: str, source: Source, size: tuple[int, int], findings: Findings
) -> list[_Object] | None:
    """The objects of an XML file, or None where it cannot be read, which is noted."""
    where = tree.place(name)
    try:
        text = read_text(source, where)
        if "<!ENTITY" in text:  # a few lines of these can grow without bounds
            raise DataError(f"{where} defines entities, which are not read")
        page = ElementTree.fromstring(text)
    except DataError as error:
        findings.add(where, f"{error.message.removeprefix(where).strip()}; left out")
        return None
    except ElementTree.ParseError as error:
        findings.add(where, f"is no whole XML file ({error}); left out with its picture")
        return None
    said = tuple(page.findtext(f"size/{side}") or "" for side in ("height", "width"))
    if any(said) and said != tuple(map(str, size)):
        findings.add(where, f"says {said[1]}×{said[0]}, the picture has {size[1]}×{size[0]} px")
    found = []
    for number, item in enumerate(page.iterfind("object"), 1):
        made = _object(f"{where} object {number}", item, findings)
        if made is not None:
            found.append(made)
    return found


def _object(where: str, item: ElementTree.Element, findings: Findings) -> _Object | None:
    name = (item.findtext("name") or "").strip()
    if not name:
        findings.add(where, "has no name; left out")
        return None
    words = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        corners = tuple(float(word or "") for word in words)
    except ValueError:
        findings.add(where, f"({name}) expected four numbers in bndbox, received {words}; left out")
        return None
    difficult = (item.findtext("difficult") or "0").strip() == "1"
    return _Object(where=f"{where} ({name})", name=name, corners=corners, difficult=difficult)


def _first_pixel(read: Sequence[tuple[Annotated, list[_Object]]]) -> int:
    """0 where a sound box begins at 0, else 1."""
    for picture, objects in read:
        h, w = picture.size
        for x0, y0, x1, y1 in (
            item.corners for item in objects if all(map(math.isfinite, item.corners))
        ):
            if 0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h and 0 in (x0, y0):
                return 0
    return 1


def _class_names(tree: Tree, files: Mapping[str, Source], found: Sequence[str]) -> tuple[str, ...]:
    for name, source in files.items():
        if PurePosixPath(name).name.lower() in CLASS_FILES:
            lines = read_text(source, tree.place(name)).splitlines()
            return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    return tuple(sorted(set(found)))


def _finished(
    picture: Annotated,
    objects: Sequence[_Object],
    names: Sequence[str],
    first: int,
    findings: Findings,
) -> Annotated:
    boxes: list[Box] = []
    for item in objects:
        if item.name not in names:
            findings.add(item.where, f"class '{item.name}' is not in the list of classes; left out")
            continue
        box = findings.box(
            item.where,
            item.corners,
            picture.size,
            label=names.index(item.name),
            ignore=item.difficult,
            first=first,
        )
        if box is not None:
            boxes.append(box)
    return replace(picture, boxes=tuple(boxes))
