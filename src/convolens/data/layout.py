"""Which folder of an image folder is a class, and which a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from convolens.data.base import Problem
from convolens.data.splits import stratified_split
from convolens.data.tree import Tree
from convolens.errors import DataError

Part = Literal["train", "val", "test"]
Members = tuple[tuple[int, int], ...]

_PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_HINT = "Give each class a folder of its own: FOLDER/CLASS/picture.jpg or FOLDER/train/CLASS/…"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Places in `tree.files` and a label for each, per split; labels count `class_names`."""

    class_names: tuple[str, ...]
    parts: Mapping[Part, Members]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def arrange(tree: Tree) -> Layout:
    """Finds classes and splits.

    Train, val and test folders are taken as they are; without a test folder, val is the test;
    without either, and without any such folders, a fixed fifth of each class is the test.

    Raises: DataError: when there are no pictures, fewer than two classes, a class without
            pictures, or a class that only val or test has.
    """
    if not tree.files:
        raise DataError(f"{tree.where} holds no pictures", hint=_HINT)
    folders = _part_folders(tree)
    problems = _stray(tree, folders)
    if not folders:
        names = _class_names(tree, "")
        return complete(names, {"train": _members(tree, "", names)}, {}, problems)
    names = _class_names(tree, folders["train"] + "/")
    parts = {part: _members(tree, folder + "/", names) for part, folder in folders.items()}
    return complete(names, parts, folders, problems)


def part_named(word: str) -> Part | None:
    """The split that a word means, such as "training" or "valid"."""
    return _PARTS.get(word.lower())


def complete(
    class_names: tuple[str, ...],
    parts: Mapping[Part, Members],
    words: Mapping[Part, str],
    problems: tuple[Problem, ...],
    kind: str = "folder",
    share: str = "a fifth of each class",
) -> Layout:
    """Makes sure that there is a test split: val, or else a fixed fifth of each class of train.

    Args:
        parts: place and label of each picture; `train` at least.
        words: what each part is called; nothing where all is of one piece.
        kind: what holds a part.
        share: what is kept for the test where nothing else is, in words.
    Raises: DataError: when every class has a single picture.
    """
    filled: dict[Part, Members] = {part: members for part, members in parts.items() if members}
    notes = [
        f"{kind} '{words[part]}' holds no pictures and is not used"
        for part in parts
        if part not in filled
    ]
    if "test" not in filled and "val" in filled:
        notes.append(f"no test {kind}: '{words['val']}' is kept for the test")
        filled["test"] = filled.pop("val")
    if "test" not in filled:
        notes.append(f"no test {kind}: {share}, always the same, is kept for the test")
        filled["train"], filled["test"] = _fixed_test(filled["train"])
    return Layout(class_names=class_names, parts=filled, problems=problems, notes=tuple(notes))


def _fixed_test(members: Members) -> tuple[Members, Members]:
    train, test = stratified_split(torch.tensor([label for _, label in members]), 0.2, seed=0)
    if not len(test):
        raise DataError(
            "every class has a single picture, so none is left to test with",
            hint="Add pictures, or a test folder.",
        )
    return tuple(members[i] for i in train.tolist()), tuple(members[i] for i in test.tolist())


def _part_folders(tree: Tree) -> dict[Part, str]:
    """The folder of each split, or nothing where the top folders are classes."""
    tops = sorted({name.split("/")[0] for name, _ in tree.files if "/" in name})
    found: dict[Part, str] = {}
    for folder in sorted(folder for folder in tree.folders if "/" not in folder):
        part = _PARTS.get(folder.lower())
        if part is None:
            continue
        if part in found:
            raise DataError(
                f"{tree.where} holds both '{found[part]}' and '{folder}', two folders for {part}"
            )
        found[part] = folder
    only_parts = bool(tops) and all(top.lower() in _PARTS for top in tops)
    if "train" not in found:
        if only_parts:
            raise DataError(f"{tree.where} holds '{tops[0]}' but no 'train' folder", hint=_HINT)
        return {}
    has_classes = any(folder.startswith(found["train"] + "/") for folder in tree.folders)
    # "train" may also be a class, beside "bus" and "car".
    return found if only_parts or (len(found) > 1 and has_classes) else {}


def _class_names(tree: Tree, prefix: str) -> tuple[str, ...]:
    names = sorted({folder[len(prefix) :].split("/")[0] for folder in tree.folders_below(prefix)})
    place = tree.place(prefix.rstrip("/")) if prefix else tree.where
    if not names:
        raise DataError(f"{place} holds pictures but no class folders", hint=_HINT)
    filled = {
        name[len(prefix) :].split("/")[0] for name, _ in tree.files if name.startswith(prefix)
    }
    if len(names) == 1:
        deeper = f"{prefix}{names[0]}/"
        hint = f"Did you mean {place}/{names[0]}?" if tree.folders_below(deeper) else _HINT
        raise DataError(f"{place} holds one class folder, '{names[0]}'; two are needed", hint=hint)
    for name in names:
        if name not in filled:
            raise DataError(f"class folder '{place}/{name}' holds no pictures")
    return tuple(names)


def _members(tree: Tree, prefix: str, names: tuple[str, ...]) -> Members:
    label = {name: index for index, name in enumerate(names)}
    members = []
    for index, (name, _) in enumerate(tree.files):
        own, slash, _ = name.removeprefix(prefix).partition("/")
        if not name.startswith(prefix) or not slash:
            continue
        if own not in label:
            raise DataError(
                f"{tree.place(prefix + own)} is a class that the training folder does not have",
                hint=f"The training folder has: {', '.join(names)}.",
            )
        members.append((index, label[own]))
    return tuple(members)


def _stray(tree: Tree, folders: Mapping[Part, str]) -> tuple[Problem, ...]:
    """Pictures that no class folder holds, and folders beside the splits."""
    read = set(folders.values())
    problems = []
    beside = set()
    for name, _ in tree.files:
        parts = name.split("/")
        if len(parts) == 1 or (parts[0] in read and len(parts) == 2):
            problems.append(Problem(where=tree.place(name), why="lies in no class folder"))
        elif read and parts[0] not in read:
            beside.add(parts[0])
    problems += [
        Problem(where=tree.place(top), why="is none of train, val and test, and was not read")
        for top in sorted(beside)
    ]
    return tuple(problems)
