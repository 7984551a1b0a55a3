"""In which of the known ways a folder or an archive describes what is in its pictures."""

from pathlib import Path, PurePosixPath
from typing import Literal

from convolens.data.annotations import (
    ANNOTATION_ENDINGS,
    Annotations,
    detection_dataset,
)
from convolens.data.base import Dataset
from convolens.data.coco import coco_files, read_coco
from convolens.data.folder import MEMORY_LIMIT_BYTES, Reading, picture_dataset, plain_name
from convolens.data.layout import arrange
from convolens.data.masks_folder import has_masks, load_masks, with_masks
from convolens.data.source import open_source
from convolens.data.tree import (
    PICTURE_ENDINGS,
    Tree,
    is_archive,
    pictures_of,
    read_archive,
    walk_folder,
)
from convolens.data.voc import has_voc, read_voc
from convolens.data.yolo_folder import YAML_ENDINGS, read_yolo
from convolens.errors import DataError

Kind = Literal["voc", "coco", "yolo", "masks", "classes"]

_VOC_MASKS = "SegmentationClass"


def load_path(path: Path, reading: Reading) -> Dataset:
    """Reads what a person has given by path, in the way that its files tell.

    Args:
        path: a folder, an archive, or the JSON file of a COCO set; the folder SegmentationClass
            of a VOC set stands for the pictures that have masks.
    Raises: DataError: when it cannot be used.
    """
    tree, kind, chosen = opened_path(path, reading.memory_limit_bytes)
    name = plain_name(path)
    if kind == "masks":
        return load_masks(tree, name, reading)
    if kind == "classes":
        pictures = pictures_of(tree)
        return picture_dataset(pictures, arrange(pictures), name, reading)
    found = annotations_of(tree, kind, chosen)
    dataset = detection_dataset(found, name, reading)
    return with_masks(dataset, tree, found) if kind == "voc" else dataset


def opened_path(path: Path, limit_bytes: int) -> tuple[Tree, Kind, str | None]:
    """What lies at a path, how it is described, and the one JSON file that was meant, if one was.

    Raises: DataError: when it cannot be read.
    """
    if path.is_file() and not is_archive(path):
        folder = path.absolute().parent
        root = folder.parent if folder.name.lower() == "annotations" else folder
        tree = walk_folder(root, ANNOTATION_ENDINGS)
        return tree, "coco", path.absolute().relative_to(root).as_posix()
    if path.name == _VOC_MASKS and (path.parent / "JPEGImages").is_dir():
        return walk_folder(path.parent, ANNOTATION_ENDINGS), "masks", None
    if is_archive(path) and path.is_file():
        tree = read_archive(path, limit_bytes, ANNOTATION_ENDINGS)
    else:
        tree = walk_folder(path, ANNOTATION_ENDINGS)
    return tree, kind_of(tree), None


def task_at(path: Path) -> str:
    """What the pictures at a path are for, as their files tell: "classify" where they do not.

    Raises: DataError: when it cannot be read.
    """
    _, kind, _ = opened_path(path, MEMORY_LIMIT_BYTES)
    return {"classes": "classify", "masks": "segment"}.get(kind, "detect")


def annotations_of(tree: Tree, kind: Kind, chosen: str | None = None) -> Annotations:
    """The boxes of a tree.

    Raises: DataError: when it has none, or they cannot be read.
    """
    if kind == "voc":
        return read_voc(tree)
    if kind == "coco":
        return read_coco(tree, chosen)
    if kind == "yolo":
        return read_yolo(tree)
    raise DataError(
        f"{tree.where} is no VOC, COCO or YOLO set",
        hint="VOC has an XML file for each picture, COCO annotations/instances_*.json, "
        "YOLO a text file for each picture in labels.",
    )


def kind_of(tree: Tree) -> Kind:
    """How a tree describes its pictures: "classes" where nothing but its folders does."""
    described = [name for name, _ in tree.files if not name.lower().endswith(PICTURE_ENDINGS)]
    if coco_files(described):
        return "coco"
    if has_voc(tree):
        return "voc"
    if _is_yolo(tree, described):
        return "yolo"
    return "masks" if has_masks(tree) else "classes"


def _is_yolo(tree: Tree, described: list[str]) -> bool:
    if any(PurePosixPath(name).name.lower() in ("data.yaml", "data.yml") for name in described):
        return True
    texts = {name for name in described if name.lower().endswith(".txt")}
    if any("labels" in PurePosixPath(name.lower()).parts[:-1] for name in texts):
        return True
    if not texts:
        return False
    # A text beside a picture may be anything; a line of five numbers is a box.
    files = dict(tree.files)
    for name in files:
        text = str(PurePosixPath(name).with_suffix(".txt"))
        if text != name and text in texts:
            with open_source(files[text], text) as file:
                words = file.readline(200).split()
            try:
                return len([float(word) for word in words]) >= 5
            except ValueError:
                return False
    return any(name.lower().endswith(YAML_ENDINGS) and "/" not in name for name in described)
