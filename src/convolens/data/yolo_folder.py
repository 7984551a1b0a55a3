"""Boxes in text files beside pictures, as the YOLO family writes them."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from convolens.data.annotations import (
    PARTS,
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

CLASS_FILES = ("classes.txt", "labels.txt")
YAML_ENDINGS = (".yaml", ".yml")

# A word of a list in brackets or of a map in braces: in quotes of either kind, or bare.
_ITEM = re.compile(r"""\s*(?:\d+\s*:\s*)?(?:'[^']*'|"(?:\\.|[^"\\])*"|[^,\[\]{}]+)""")

Page = dict[str, str | list[str]]


def read_yolo(tree: Tree) -> Annotations:
    """Reads pictures and their text files: images/… and labels/…, or both in one folder.

    Each line is a class number, then centre x, centre y, width and height as shares of the
    picture's width and height; a longer line is an outline, of which the surrounding box counts.
    A picture without a text file has no objects. Classes are named in `data.yaml` or
    `classes.txt`; splits are those of `data.yaml`, else folders named train, val and test.

    Raises: DataError: when data.yaml cannot be read.
    """
    findings = Findings()
    files = dict(tree.files)
    yaml = next((n for n in files if n.lower().endswith(YAML_ENDINGS) and n.count("/") < 2), None)
    page = read_yaml(read_text(files[yaml], tree.place(yaml))) if yaml else {}
    pictures = [name for name in files if name.lower().endswith(PICTURE_ENDINGS)]
    labels = {name: own for name in pictures if (own := _label_file(name, files))}
    _note_unpaired(tree, files, set(labels.values()), findings)
    if len(labels) < len(pictures):
        count = len(pictures) - len(labels)
        findings.notes.append(f"without a label file, and so without objects: {count} pictures")
    lines = {name: _lines(tree, own, files[own], findings) for name, own in labels.items()}
    class_names = _class_names(tree, files, page, lines)
    parts, words = _parts(tree, files, page, pictures, findings)
    note_repeats(parts, tree.where, findings)
    done: dict[str, Annotated] = {}
    for name in dict.fromkeys(name for own in parts.values() for name in own):
        picture = opened(tree, name, files[name], findings)
        if picture is not None:
            place = tree.place(labels.get(name, ""))
            boxes = _boxes(place, lines.get(name, []), picture.size, class_names, findings)
            done[name] = replace(picture, boxes=boxes)
    return Annotations(
        format="yolo",
        where=tree.where,
        class_names=class_names,
        parts={part: tuple(done[n] for n in own if n in done) for part, own in parts.items()},
        words=words,
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    )


def read_yaml(text: str) -> Page:
    """The words and lists of words at the top of a YAML page; deeper levels are passed over.

    Example:
        >>> read_yaml("names:\\n  0: cat\\n  1: 'dog'  # both\\ntrain: images/train")
        {'names': ['cat', 'dog'], 'train': 'images/train'}
    """
    page: Page = {}
    key = ""
    for line in text.splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not bare:
            continue
        own = re.match(r"([\w-]+):\s*(.*)", bare)
        if own:
            key, value = own.groups()
            page[key] = _flow(value) if value else []
        elif item := re.match(r"\s*(?:-\s+|\d+\s*:\s*)(.+)", bare):
            found = page.get(key)
            if isinstance(found, list):
                found.append(_unquoted(item[1]))
    return page


def _flow(value: str) -> str | list[str]:
    if value[0] not in "[{":
        return _unquoted(value)
    items = _ITEM.findall(value)
    words = [re.sub(r"^\s*\d+\s*:\s*", "", item) if value[0] == "{" else item for item in items]
    return [_unquoted(word) for word in words if word.strip()]


def _unquoted(word: str) -> str:
    word = word.strip()
    if len(word) < 2 or word[0] != word[-1] or word[0] not in "'\"":
        return word
    try:
        return str(json.loads(word))  # with the escapes of double quotes
    except ValueError:
        return word[1:-1]


def _label_file(name: str, files: Mapping[str, Source]) -> str | None:
    """images/train/a.jpg has labels/train/a.txt, or train/a.txt below another labels, or a.txt."""
    path = PurePosixPath(name)
    folders = list(path.parent.parts)
    for place in reversed([i for i, folder in enumerate(folders) if folder.lower() == "images"]):
        other = [*folders[:place], "labels", *folders[place + 1 :], f"{path.stem}.txt"]
        if "/".join(other) in files:
            return "/".join(other)
    beside = str(path.with_suffix(".txt"))
    return beside if beside in files else None


def _note_unpaired(
    tree: Tree, files: Mapping[str, Source], used: set[str], findings: Findings
) -> None:
    for name in files:
        path = PurePosixPath(name)
        is_label = path.suffix.lower() == ".txt" and "labels" in [
            p.lower() for p in path.parts[:-1]
        ]
        if is_label and name not in used and path.name not in CLASS_FILES:
            findings.add(tree.place(name), "has no picture")


def _lines(
    tree: Tree, name: str, source: Source, findings: Findings
) -> list[tuple[int, list[str]]]:
    """The words of each line that is not empty, with its number."""
    try:
        text = read_text(source, tree.place(name))
    except DataError as error:
        why = error.message.removeprefix(tree.place(name)).strip()
        if "0 bytes" not in why:  # that is how a picture without objects is written
            findings.add(tree.place(name), why)
        return []
    numbered = enumerate(text.splitlines(), 1)
    return [(number, line.split()) for number, line in numbered if line.strip()]


def _class_names(
    tree: Tree,
    files: Mapping[str, Source],
    page: Page,
    lines: Mapping[str, list[tuple[int, list[str]]]],
) -> tuple[str, ...]:
    names = page.get("names")
    if isinstance(names, list) and names:
        return tuple(names)
    for name, source in files.items():
        if PurePosixPath(name).name.lower() in CLASS_FILES:
            text = read_text(source, tree.place(name))
            return tuple(line.strip() for line in text.splitlines() if line.strip())
    numbers = [int(words[0]) for own in lines.values() for _, words in own if words[0].isdigit()]
    return tuple(f"class {number}" for number in range(max(numbers, default=-1) + 1))


def _parts(
    tree: Tree,
    files: Mapping[str, Source],
    page: Page,
    pictures: list[str],
    findings: Findings,
) -> tuple[dict[Part, list[str]], dict[Part, str]]:
    """The pictures of each split, and what the splits are called."""
    parts: dict[Part, list[str]] = {}
    words: dict[Part, str] = {}
    if page.get("val") and page.get("val") == page.get("train"):
        findings.notes.append("data.yaml names the same pictures as train and val; val is not used")
        page = {**page, "val": []}
    for part in PARTS:
        entries = page.get(part, [])
        for entry in [entries] if isinstance(entries, str) else entries:
            own = _entry(tree, files, entry, pictures, findings)
            parts.setdefault(part, []).extend(own)
            words[part] = entry
    every = [name for own in parts.values() for name in dict.fromkeys(own)]
    # Paths of another machine may fit a folder that holds all splits; folders' names tell then.
    if parts.get("train") and len(every) == len(set(every)):
        rest = len(pictures) - len(every)
        if rest:
            findings.notes.append(f"in no split of data.yaml, and left out: {rest} pictures")
        return {part: list(dict.fromkeys(own)) for part, own in parts.items()}, words
    parts, words = {}, {}
    for name in pictures:
        folders = PurePosixPath(name).parts[:-1]
        named = [(f, p) for f in folders if (p := part_named(re.sub(r"[-_]?\d+$", "", f)))]
        word, chosen = named[0] if named else ("", None)
        parts.setdefault(chosen or "train", []).append(name)
        if chosen:
            words[chosen] = word
    return parts, words


def _entry(
    tree: Tree, files: Mapping[str, Source], entry: str, pictures: list[str], findings: Findings
) -> list[str]:
    """The pictures that an entry of data.yaml means: those of a folder, or those in a list."""
    tail = "/".join(part for part in PurePosixPath(entry).parts if part not in (".", "..", "/"))
    if not tail:
        return pictures
    if not tail.endswith(".txt"):
        folder = max((f for f in tree.folders if f"/{tail}".endswith(f"/{f}")), key=len, default="")
        return [name for name in pictures if folder and name.startswith(f"{folder}/")]
    lists = [name for name in files if f"/{tail}".endswith(f"/{name}")]
    found = []
    for name in lists[:1]:
        for number, line in enumerate(read_text(files[name], tree.place(name)).splitlines(), 1):
            wanted = line.strip().removeprefix("./")
            if wanted in files:
                found.append(wanted)
            elif match := next((p for p in pictures if f"/{wanted}".endswith(f"/{p}")), None):
                found.append(match)
            elif wanted:
                findings.add(f"{tree.place(name)} line {number}", f"picture {wanted} is missing")
    return found


def _boxes(
    where: str,
    lines: list[tuple[int, list[str]]],
    size: tuple[int, int],
    class_names: tuple[str, ...],
    findings: Findings,
) -> tuple[Box, ...]:
    boxes = []
    for number, words in lines:
        place = f"{where} line {number}"
        try:
            label, values = float(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            findings.add(place, f"expected numbers, received '{' '.join(words)[:60]}'; left out")
            continue
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            findings.add(place, f"expected 5 numbers, received {len(words)}; left out")
        elif not (label.is_integer() and 0 <= label < len(class_names)):
            why = f"unknown class {words[0]}: there are {len(class_names)}, from 0; left out"
            findings.add(place, why)
        elif box := findings.box(place, _corners(values, size), size, label=int(label)):
            boxes.append(box)
    return tuple(boxes)


def _corners(values: list[float], size: tuple[int, int]) -> list[float]:
    h, w = size
    if len(values) == 4:
        x, y, across, down = values
        sides = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
    else:
        sides = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    return [side * length for side, length in zip(sides, (w, h, w, h), strict=True)]
