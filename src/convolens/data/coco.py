"""Boxes in the JSON files of COCO, one for each split or one for all."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from convolens.data.annotations import (
    Annotated,
    Annotations,
    Box,
    Findings,
    note_repeats,
    opened,
    read_text,
)
from convolens.data.layout import Part, part_named
from convolens.data.source import Source
from convolens.data.tree import PICTURE_ENDINGS, Tree
from convolens.errors import DataError

_HINT = 'A COCO file is one object with the lists "images", "annotations" and "categories".'


def read_coco(tree: Tree, chosen: str | None = None) -> Annotations:
    """Reads annotations/instances_*.json, or else every COCO file in the tree.

    A file belongs to the split that a word of its name or a folder above it stands for, such as
    `instances_val2017.json` or `valid/_annotations.coco.json`. Pictures are looked for at their
    `file_name`, from the file's folder and from any other. Crowds are to be ignored; polygons and
    run lengths are not read. Classes are in the order of their ids in the training file.

    Source: Lin et al. (2014), arXiv:1405.0312; the data format page of COCO.
    Args:
        chosen: the one file to be read; its pictures are of one piece.
    Raises: DataError: when a file cannot be read, or the files differ in their classes.
    """
    findings = Findings()
    files = dict(tree.files)
    pages = _pages(tree, files, chosen)
    order: dict[Part, int] = {"train": 0, "val": 1, "test": 2}
    whole: tuple[Part, str] = ("train", "")
    words = {name: whole if chosen else _part(name) for name in pages}
    names = sorted(pages, key=lambda name: (order[words[name][0]], name))
    class_names = _class_names(tree, {name: pages[name] for name in names}, findings)
    index = _index(files)
    parts: dict[Part, tuple[Annotated, ...]] = {}
    for name in names:
        part = words[name][0]
        read = _pictures(tree, files, index, name, pages[name], class_names, findings)
        parts[part] = (*parts.get(part, ()), *read)
    read_names = {picture.name for own in parts.values() for picture in own}
    lost = {problem.where for problem in findings.problems}
    every = [name for found in index.values() for name in found]
    rest = sum(name not in read_names and tree.place(name) not in lost for name in every)
    if rest and not chosen:
        findings.notes.append(f"in no file that was read, and left out: {rest} pictures")
    note_repeats({part: [p.name for p in own] for part, own in parts.items()}, tree.where, findings)
    return Annotations(
        format="coco",
        where=tree.where,
        class_names=class_names,
        parts=parts,
        words={part: word for part, word in words.values() if word},
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    )


def coco_files(names: Sequence[str]) -> list[str]:
    """The names that claim to be COCO files with boxes."""
    found = [name for name in names if name.lower().endswith(".json")]
    instances = [name for name in found if "instances" in PurePosixPath(name).name]
    own = [
        name
        for name in found
        if re.search("coco|annotations", PurePosixPath(name).name.lower())
        or PurePosixPath(name).parent.name.lower() == "annotations"
    ]
    return instances or own


def _pages(tree: Tree, files: Mapping[str, Source], chosen: str | None) -> dict[str, Any]:
    pages = {}
    for name in [chosen] if chosen else coco_files(list(files)):
        where = tree.place(name)
        try:
            page = json.loads(read_text(files[name], where))
        except ValueError as error:
            raise DataError(f"{where} is no whole JSON file: {error}") from error
        except RecursionError as error:
            raise DataError(f"{where} is no COCO file", hint=_HINT) from error
        lists = (
            [page.get(key) for key in ("images", "annotations", "categories")]
            if isinstance(page, dict)
            else []
        )
        if not lists or not all(isinstance(found, list) for found in lists):
            raise DataError(f"{where} is no COCO file", hint=_HINT)
        pages[name] = page
    return pages


def _part(name: str) -> tuple[Part, str]:
    """The split of a file, and the word that says so."""
    path = PurePosixPath(name)
    for word in (*re.findall(r"[a-z]+", path.stem.lower()), *path.parts[:-1]):
        part = part_named(word)
        if part is not None:
            return part, word
    return "train", ""


def _class_names(tree: Tree, pages: Mapping[str, Any], findings: Findings) -> tuple[str, ...]:
    known: dict[str, None] = {}
    for name, page in pages.items():
        named = _categories(page)
        if len(named) < len(page["categories"]):
            findings.add(tree.place(name), "has categories without id and name, or of the same id")
        known |= dict.fromkeys(named[number] for number in sorted(named))
    if not known:
        raise DataError(f"{tree.where} has no categories", hint=_HINT)
    return tuple(known)


def _categories(page: Any) -> dict[int, str]:
    """Names by id."""
    return {
        item["id"]: str(item["name"])
        for item in page["categories"]
        if isinstance(item, dict) and isinstance(item.get("id"), int) and item.get("name")
    }


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str)


def _index(files: Mapping[str, Source]) -> dict[str, list[str]]:
    """Names of pictures by their last part."""
    index: dict[str, list[str]] = {}
    for name in files:
        if name.lower().endswith(PICTURE_ENDINGS):
            index.setdefault(PurePosixPath(name).name, []).append(name)
    return index


def _find(index: Mapping[str, list[str]], page_name: str, file_name: str) -> str | None:
    """The picture of this name that is nearest to the file: its split's, if several have it."""
    path = PurePosixPath(file_name)
    found = index.get(path.name, [])
    tail = str(path)
    whole = [name for name in found if f"/{name}".endswith(f"/{tail}")]
    folder = str(PurePosixPath(page_name).parent)
    stem = PurePosixPath(page_name).stem
    part = _part(page_name)[0]

    def distance(name: str) -> tuple[bool, bool, bool, str]:
        above = PurePosixPath(name).parts[:-1]
        return (
            name != str(PurePosixPath(folder) / path),
            not any(word and stem.endswith(word) for word in above),
            not any(part_named(re.sub(r"\d+$", "", word)) == part for word in above),
            name,
        )

    return min(whole or found, key=distance, default=None)


def _pictures(
    tree: Tree,
    files: Mapping[str, Source],
    index: Mapping[str, list[str]],
    page_name: str,
    page: Any,
    class_names: tuple[str, ...],
    findings: Findings,
) -> list[Annotated]:
    """The pictures of one file, with their objects."""
    where = tree.place(page_name)
    pictures: dict[Any, Annotated] = {}
    lost = set()
    for item in page["images"]:
        if not isinstance(item, dict) or not _is_key(item.get("id")) or not item.get("file_name"):
            findings.add(where, f"has an image without id or file_name: {str(item)[:80]}")
            continue
        name = _find(index, page_name, str(item["file_name"]))
        if item["id"] in pictures:
            findings.add(where, f"has two images of id {item['id']}; the second is left out")
        elif name is None:
            findings.add(where, f"picture {item['file_name']} is missing")
            lost.add(item["id"])
        elif (picture := opened(tree, name, files[name], findings)) is None:
            lost.add(item["id"])
        else:
            _compare(where, item, picture, findings)
            pictures[item["id"]] = picture
    boxes: dict[Any, list[Box]] = {}
    labels = {key: class_names.index(name) for key, name in _categories(page).items()}
    for number, item in enumerate(page["annotations"]):
        if not isinstance(item, dict):
            findings.add(f"{where} annotation {number}", "is no object of JSON; left out")
            continue
        key, place = item.get("image_id"), f"{where} annotation {item.get('id', number)}"
        if _is_key(key) and key in lost:
            continue  # its picture has been named
        if not _is_key(key) or key not in pictures:
            findings.add(place, f"has no picture: image_id {key}; left out")
            continue
        box = _box(f"{place} ({pictures[key].name})", item, pictures[key].size, labels, findings)
        if box is not None:
            boxes.setdefault(key, []).append(box)
    return [replace(own, boxes=tuple(boxes.get(key, ()))) for key, own in pictures.items()]


def _compare(where: str, item: Any, picture: Annotated, findings: Findings) -> None:
    said = (item.get("height"), item.get("width"))
    if None not in said and said != picture.size:
        h, w = picture.size
        findings.add(where, f"says {said[1]}×{said[0]} of {picture.name}, which has {w}×{h} px")


def _box(
    where: str, item: Any, size: tuple[int, int], labels: Mapping[int, int], findings: Findings
) -> Box | None:
    if not _is_key(item.get("category_id")) or item["category_id"] not in labels:
        findings.add(where, f"unknown category_id {item.get('category_id')}; left out")
        return None
    numbers = item.get("bbox")
    if not isinstance(numbers, list) or not all(
        isinstance(number, int | float) for number in numbers
    ):
        findings.add(where, f"expected bbox [x, y, width, height], received {numbers}; left out")
        return None
    if len(numbers) == 4:
        x, y, w, h = numbers
        numbers = [x, y, x + w, y + h]
    label, crowd = labels[item["category_id"]], bool(item.get("iscrowd"))
    return findings.box(where, numbers, size, label=label, ignore=crowd)
