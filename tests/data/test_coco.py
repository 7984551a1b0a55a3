import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convolens.data.annotations import ANNOTATION_ENDINGS
from convolens.data.coco import read_coco
from convolens.data.folder import Reading
from convolens.data.formats import kind_of, load_path
from convolens.data.registry import load_dataset
from convolens.data.tree import walk_folder
from convolens.errors import DataError

Write = Callable[..., Path]
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def annotation(number: int, picture: int, bbox: Any, **others: Any) -> dict[str, Any]:
    return {"id": number, "image_id": picture, "category_id": 7, "bbox": bbox, **others}


@pytest.fixture
def coco(write_pictures: Write) -> Path:
    names = ("train2017/1.png", "train2017/2.png", "val2017/1.png")
    root = write_pictures(*names, size=(40, 60))
    (root / "annotations").mkdir()
    images = [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 60} for n in (1, 2)]
    write(
        root,
        "train2017",
        images=images,
        annotations=[
            annotation(1, 1, [10, 5, 20.5, 20], iscrowd=0),
            annotation(2, 1, [0, 0, 60, 40], iscrowd=1, category_id=3),
        ],
        categories=CATEGORIES,
    )
    write(
        root,
        "val2017",
        images=images[:1],
        annotations=[annotation(1, 1, [1, 2, 3, 4])],
        categories=CATEGORIES,
    )
    return root


def write(root: Path, part: str, **page: Any) -> None:
    (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(page))


def test_boxes_crowds_and_splits_are_read(coco: Path) -> None:
    (coco / "annotations" / "captions_train2017.json").write_text("{}")
    tree = walk_folder(coco, ANNOTATION_ENDINGS)
    assert kind_of(tree) == "coco"
    found = read_coco(tree)
    assert found.problems == ()
    assert found.class_names == ("cat", "dog")
    first, second = found.parts["train"]
    assert [box.corners for box in first.boxes] == [(10, 5, 30.5, 25), (0, 0, 60, 40)]
    assert [(box.label, box.ignore) for box in first.boxes] == [(1, False), (0, True)]
    assert (first.name, second.name, second.boxes) == ("train2017/1.png", "train2017/2.png", ())
    (third,) = found.parts["val"]
    assert third.name == "val2017/1.png"
    dataset = load_path(coco, Reading(image_size=60))
    assert (len(dataset.train), dataset.val, len(dataset.test)) == (2, None, 1)
    assert dataset.train.targets["box_ignore"][0].tolist() == [False, True]


def test_one_file_is_a_set_of_one_piece(coco: Path) -> None:
    file = coco / "annotations" / "instances_train2017.json"
    page = json.loads(file.read_text())
    page["annotations"].append(annotation(3, 2, [1, 2, 3, 4]))
    file.write_text(json.dumps(page))
    dataset = load_dataset(str(file), root=coco)
    assert (len(dataset.train), len(dataset.test)) == (1, 1)
    assert dataset.notes == (
        "no test split: a fifth of the pictures, always the same, is kept for the test",
    )


def test_everything_that_is_wrong_is_named(coco: Path) -> None:
    write(
        coco,
        "train2017",
        images=[
            {"id": 1, "file_name": "1.png", "height": 41, "width": 60},
            {"id": 2, "file_name": "ghost.png"},
            {"id": 1, "file_name": "2.png"},
            {"file_name": "2.png"},
        ],
        annotations=[
            annotation(1, 1, [10, 5, -5, 20]),
            annotation(2, 1, [10, 5, 0, 20]),
            annotation(3, 1, [50, 5, 20, 20]),
            annotation(4, 1, [5, 5, 20, float("nan")]),
            annotation(5, 1, [5, 5, 20]),
            annotation(6, 1, None),
            annotation(7, 9, [5, 5, 20, 20]),
            annotation(8, 1, [5, 5, 20, 20], category_id=5),
            annotation(9, 2, [5, 5, 20, 20]),
            annotation(10, 1, [5, 5, 20, 20], category_id=[1]),
            "none",
        ],
        categories=[*CATEGORIES, {"id": 3, "name": "bird"}],
    )
    found = read_coco(walk_folder(coco, ANNOTATION_ENDINGS))
    assert [box.corners for box in found.parts["train"][0].boxes] == [
        (5, 5, 10, 25),
        (50, 5, 60, 25),
    ]
    file = f"{coco}/annotations/instances_train2017.json"
    told = [f"{p.where.removeprefix(file).strip()}| {p.why}" for p in found.problems]
    at = "(train2017/1.png)|"
    assert told == [
        "| has categories without id and name, or of the same id",
        "| says 60×41 of train2017/1.png, which has 60×40 px",
        "| picture ghost.png is missing",
        "| has two images of id 1; the second is left out",
        "| has an image without id or file_name: {'file_name': '2.png'}",
        f"annotation 1 {at} box (10, 5, 5, 25): swapped corners, put right",
        f"annotation 2 {at} box (10, 5, 10, 25): no area; left out",
        f"annotation 3 {at} box (50, 5, 70, 25): reaches outside of the picture of 60×40 px, "
        "clipped",
        f"annotation 4 {at} box (5, 5, 25, nan): expected four finite numbers; left out",
        f"annotation 5 {at} box (5, 5, 20): expected four finite numbers; left out",
        f"annotation 6 {at} expected bbox [x, y, width, height], received None; left out",
        "annotation 7| has no picture: image_id 9; left out",
        f"annotation 8 {at} unknown category_id 5; left out",
        f"annotation 10 {at} unknown category_id [1]; left out",
        "annotation 10| is no object of JSON; left out",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "instances_train2017.json is no whole JSON file: Expecting value"),
        ("[]", "instances_train2017.json is no COCO file\nA COCO file is one object with"),
        ('{"images": [], "annotations": {}, "categories": []}', "is no COCO file"),
    ],
)
def test_a_file_that_is_none_is_an_error(coco: Path, text: str, message: str) -> None:
    (coco / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_path(coco, Reading())


def test_files_beside_their_pictures_as_roboflow_leaves_them(write_pictures: Write) -> None:
    root = write_pictures("train/1.png", "valid/1.png", "test/1.png", size=(40, 60))
    for part in ("train", "valid", "test"):
        page = {
            "images": [{"id": 0, "file_name": "1.png"}],
            "annotations": [annotation(0, 0, [1, 2, 3, 4])],
            "categories": CATEGORIES,
        }
        (root / part / "_annotations.coco.json").write_text(json.dumps(page))
    found = read_coco(walk_folder(root, ANNOTATION_ENDINGS))
    assert found.problems == ()
    assert {part: [p.name for p in own] for part, own in found.parts.items()} == {
        "train": ["train/1.png"],
        "val": ["valid/1.png"],
        "test": ["test/1.png"],
    }


def test_pictures_that_no_file_names_are_counted(coco: Path) -> None:
    (coco / "train2017" / "3.png").write_bytes((coco / "train2017" / "1.png").read_bytes())
    found = read_coco(walk_folder(coco, ANNOTATION_ENDINGS))
    assert found.notes == ("in no file that was read, and left out: 1 pictures",)
