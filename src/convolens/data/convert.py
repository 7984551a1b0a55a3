"""Detection sets written anew in another of the three formats."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from convolens.data.annotations import PARTS, Annotated, AnnotationFormat, Annotations, Box
from convolens.data.base import Problem
from convolens.data.folder import MEMORY_LIMIT_BYTES
from convolens.data.formats import annotations_of, opened_path
from convolens.data.layout import Part
from convolens.data.source import open_source, reason
from convolens.errors import DataError, UnavailableError

_DIGITS = 10  # of the shares that YOLO writes: 1e-3 px at ten million pixels


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion has written.

    Args:
        out: the new folder.
        pictures: how many.
        objects: how many.
        problems: of the source; a box that could not be mended has not been written.
        notes: what the new format cannot hold.
    """

    out: Path
    pictures: int
    objects: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Named:
    """A picture with its stem and its file's name in the new folder."""

    picture: Annotated
    stem: str
    file: str


_Parts = Mapping[Part, Sequence[_Named]]


def convert_dataset(
    path: str | Path, *, to: AnnotationFormat, out: str | Path, link: bool = False
) -> Converted:
    """Writes a VOC, COCO or YOLO set in another of these formats, with its pictures and splits.

    The new folder appears whole or not at all. Boxes keep their place to the last bit in COCO, to
    1e-3 px in YOLO, and in whole pixels, counted from 1, in VOC. COCO's crowds and VOC's difficult
    objects are the same; YOLO has neither, so they are not written there.

    Args:
        out: a new folder.
        link: makes links to the pictures instead of copies.
    Raises:
        DataError: when the source is no such set, or `out` exists already.
        UnavailableError: when it cannot be written.
    """
    target, own = Path(out).expanduser().absolute(), Path(path).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{out} exists already", hint="Give a new folder; nothing is overwritten.")
    if not own.exists():
        raise DataError(f"there is no folder, archive or file at {path}")
    tree, kind, chosen = opened_path(own, MEMORY_LIMIT_BYTES)
    found = annotations_of(tree, kind, chosen)
    parts = _named(found)
    every = [named.picture for part in parts.values() for named in part]
    if not every:
        raise DataError(f"{path} holds no pictures that could be converted")
    if link and not all(isinstance(picture.source, str | Path) for picture in every):
        raise DataError(f"the pictures of {path} lie in an archive, so they cannot be linked")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as holder:
            unfinished = Path(holder) / "out"
            unfinished.mkdir()
            notes = _WRITERS[to](unfinished, found, parts, link)
            unfinished.replace(target)
    except OSError as error:
        raise UnavailableError(f"{out} cannot be written: {reason(error)}") from error
    return Converted(
        out=target,
        pictures=len(every),
        objects=sum(len(picture.boxes) for picture in every),
        problems=found.problems,
        notes=(*found.notes, *notes),
    )


def _named(found: Annotations) -> dict[Part, list[_Named]]:
    """The pictures of each split under stems that differ."""
    taken: dict[str, str] = {}
    parts: dict[Part, list[_Named]] = {}
    for part in (part for part in PARTS if part in found.parts):
        parts[part] = []
        for picture in found.parts[part]:
            path = PurePosixPath(picture.name)
            choices = [path.stem, "_".join(path.with_suffix("").parts), "_".join(path.parts)]
            stem = next(s for s in choices if taken.setdefault(s, picture.name) == picture.name)
            parts[part].append(_Named(picture=picture, stem=stem, file=stem + path.suffix))
    return parts


def _put_picture(named: _Named, folder: Path, link: bool) -> None:
    source, target = named.picture.source, folder / named.file
    if target.exists():
        return  # a picture of two splits
    if isinstance(source, str | Path):
        if link:
            target.symlink_to(Path(source).absolute())
        else:
            shutil.copyfile(source, target)
        return
    with open_source(source, named.picture.name) as file:
        target.write_bytes(file.read())


def _write_voc(out: Path, found: Annotations, parts: _Parts, link: bool) -> list[str]:
    pictures, pages, lists = (
        out / place for place in ("JPEGImages", "Annotations", "ImageSets/Main")
    )
    for folder in (pictures, pages, lists):
        folder.mkdir(parents=True)
    rounded = widened = 0
    for part, own in parts.items():
        for named in own:
            _put_picture(named, pictures, link)
            corners = [_whole(box) for box in named.picture.boxes]
            rounded += sum(changed for _, changed, _ in corners)
            widened += sum(changed for _, _, changed in corners)
            page = _voc_page(named, [whole for whole, _, _ in corners], found.class_names)
            page.write(pages / f"{named.stem}.xml", encoding="utf-8")
        if found.words:
            (lists / f"{part}.txt").write_text("".join(f"{n.stem}\n" for n in own), "utf-8")
    if not found.words:
        shutil.rmtree(out / "ImageSets")
    _write_classes(out, found.class_names)
    notes = []
    if rounded:
        notes.append(f"{rounded:,} boxes are rounded to whole pixels")
    if widened:
        notes.append(f"{widened:,} boxes of one pixel across are widened to two, as VOC needs")
    return notes


def _whole(box: Box) -> tuple[tuple[int, ...], bool, bool]:
    """Corners as numbers of pixels from 1, both included; whether they were rounded; or widened."""
    x0, y0, x1, y1 = (round(value) for value in box.corners)
    changed = any(abs(a - b) > 1e-3 for a, b in zip((x0, y0, x1, y1), box.corners, strict=True))
    narrow = x1 - x0 < 2 or y1 - y0 < 2
    left, top = x0 + 1, y0 + 1
    # The same number twice reads as a box without area.
    if x1 <= left:
        left, x1 = (left, left + 1) if left < 2 else (left - 1, left)
    if y1 <= top:
        top, y1 = (top, top + 1) if top < 2 else (top - 1, top)
    return (left, top, x1, y1), changed and not narrow, narrow


def _voc_page(
    named: _Named, corners: Sequence[tuple[int, ...]], names: Sequence[str]
) -> ElementTree.ElementTree:
    page = ElementTree.Element("annotation")
    h, w = named.picture.size
    ElementTree.SubElement(page, "filename").text = named.file
    size = ElementTree.SubElement(page, "size")
    depth = 1 if named.picture.mode in ("1", "L") else 3
    for side, length in (("width", w), ("height", h), ("depth", depth)):
        ElementTree.SubElement(size, side).text = str(length)
    for box, whole in zip(named.picture.boxes, corners, strict=True):
        item = ElementTree.SubElement(page, "object")
        ElementTree.SubElement(item, "name").text = names[box.label]
        ElementTree.SubElement(item, "difficult").text = str(int(box.ignore))
        bounds = ElementTree.SubElement(item, "bndbox")
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), whole, strict=True):
            ElementTree.SubElement(bounds, side).text = str(value)
    tree = ElementTree.ElementTree(page)
    ElementTree.indent(tree)
    return tree


def _write_coco(out: Path, found: Annotations, parts: _Parts, link: bool) -> list[str]:
    (out / "annotations").mkdir()
    categories = [{"id": n, "name": name} for n, name in enumerate(found.class_names, 1)]
    for part, own in parts.items():
        folder = out / (part if found.words else "images")
        folder.mkdir()
        images, objects = [], []
        for number, named in enumerate(own, 1):
            _put_picture(named, folder, link)
            h, w = named.picture.size
            images.append({"id": number, "file_name": named.file, "width": w, "height": h})
            objects += [_coco_object(box, number) for box in named.picture.boxes]
        page = {
            "images": images,
            "annotations": [{"id": n, **item} for n, item in enumerate(objects, 1)],
            "categories": categories,
        }
        name = f"instances_{part}.json" if found.words else "instances.json"
        (out / "annotations" / name).write_text(json.dumps(page), "utf-8")
    return []


def _coco_object(box: Box, picture: int) -> dict[str, object]:
    x0, y0, x1, y1 = box.corners
    width, height = x1 - x0, y1 - y0
    return {
        "image_id": picture,
        "category_id": box.label + 1,
        "bbox": [x0, y0, width, height],
        "area": width * height,
        "iscrowd": int(box.ignore),
        "segmentation": [],
    }


def _write_yolo(out: Path, found: Annotations, parts: _Parts, link: bool) -> list[str]:
    left_out = 0
    page = []
    for part, own in parts.items():
        below = part if found.words else ""
        pictures, labels = out / "images" / below, out / "labels" / below
        for folder in (pictures, labels):
            folder.mkdir(parents=True)
        if found.words:
            page.append(f"{part}: images/{part}")
        for named in own:
            _put_picture(named, pictures, link)
            kept = [box for box in named.picture.boxes if not box.ignore]
            left_out += len(named.picture.boxes) - len(kept)
            lines = "".join(_yolo_line(box, named.picture.size) for box in kept)
            (labels / f"{named.stem}.txt").write_text(lines, "utf-8")
    page.append("names:")
    page += [
        f"  {number}: {json.dumps(name, ensure_ascii=False)}"
        for number, name in enumerate(found.class_names)
    ]
    (out / "data.yaml").write_text("\n".join(page) + "\n", "utf-8")
    if not left_out:
        return []
    return [f"{left_out:,} crowds or difficult objects are not written: YOLO cannot mark them"]


def _yolo_line(box: Box, size: tuple[int, int]) -> str:
    x0, y0, x1, y1 = box.corners
    h, w = size
    shares = ((x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h)
    return f"{box.label} {' '.join(f'{share:.{_DIGITS}f}' for share in shares)}\n"


def _write_classes(out: Path, names: Sequence[str]) -> None:
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")


_WRITERS: Mapping[AnnotationFormat, Callable[[Path, Annotations, _Parts, bool], list[str]]] = {
    "voc": _write_voc,
    "coco": _write_coco,
    "yolo": _write_yolo,
}
