from collections.abc import Callable
from pathlib import Path

import pytest

from convolens.data.annotations import ANNOTATION_ENDINGS
from convolens.data.folder import Reading
from convolens.data.formats import kind_of, load_path
from convolens.data.tree import walk_folder
from convolens.data.yolo_folder import read_yaml, read_yolo

Write = Callable[..., Path]


@pytest.fixture
def yolo(write_pictures: Write) -> Path:
    names = [f"images/{part}/{n}.png" for part in ("train", "val", "test") for n in "ab"]
    root = write_pictures(*names, size=(40, 60))
    for name in names:
        label = (root / name.replace("images", "labels")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("1 0.5 0.5 0.5 0.25\n")
    (root / "data.yaml").write_text("# mine\nnames: [cat, 'big dog']\nnc: 2\n")
    return root


def test_boxes_classes_and_splits_are_read(yolo: Path) -> None:
    (yolo / "labels/train/a.txt").write_text("0 0.25 0.5 0.5 1\n\n1 0.5 0.5 0.1 0.1\n")
    (yolo / "labels/train/b.txt").unlink()
    tree = walk_folder(yolo, ANNOTATION_ENDINGS)
    assert kind_of(tree) == "yolo"
    found = read_yolo(tree)
    assert found.problems == ()
    assert found.class_names == ("cat", "big dog")
    a, b = found.parts["train"]
    assert a.boxes[0].corners == (0, 0, 30, 40)
    assert a.boxes[1].corners == pytest.approx((27, 18, 33, 22))
    assert ([box.label for box in a.boxes], b.boxes) == ([0, 1], ())
    assert found.notes == ("without a label file, and so without objects: 1 pictures",)
    dataset = load_path(yolo, Reading(image_size=60))
    assert dataset.val is not None
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (2, 2, 2)


def test_everything_that_is_wrong_is_named(yolo: Path) -> None:
    (yolo / "labels/train/a.txt").write_text(
        "2 0.5 0.5 0.1 0.1\n-1 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n0 x 0.5 0.1 0.1\n"
        "0 0.5 0.5 0 0.1\n0 0.5 0.5 inf 0.1\n0 1 0.5 0.5 0.5\n0 1.5 0.5 0.5 0.5\n"
        "0 0.5 0.5 -0.5 0.5\n0.5 0.5 0.5 0.5 0.5\n"
    )
    (yolo / "labels/train/ghost.txt").write_text("")
    (yolo / "labels/train/b.txt").write_bytes(b"\xff\xfe\x00")
    found = read_yolo(walk_folder(yolo, ANNOTATION_ENDINGS))
    corners = [box.corners for box in found.parts["train"][0].boxes]
    assert corners == [(45, 10, 60, 30), (15, 10, 45, 30)]
    start = f"{yolo}/labels/train/"
    assert [f"{p.where.removeprefix(start)}: {p.why}" for p in found.problems] == [
        "ghost.txt: has no picture",
        "b.txt: cannot be read as text",
        "a.txt line 1: unknown class 2: there are 2, from 0; left out",
        "a.txt line 2: unknown class -1: there are 2, from 0; left out",
        "a.txt line 3: expected 5 numbers, received 4; left out",
        "a.txt line 4: expected numbers, received '0 x 0.5 0.1 0.1'; left out",
        "a.txt line 5: box (30, 18, 30, 22): no area; left out",
        "a.txt line 6: box (-inf, 18, inf, 22): expected four finite numbers; left out",
        "a.txt line 7: box (45, 10, 75, 30): reaches outside of the picture of 60×40 px, clipped",
        "a.txt line 8: box (75, 10, 105, 30): outside of the picture of 60×40 px; left out",
        "a.txt line 9: box (45, 10, 15, 30): swapped corners, put right",
        "a.txt line 10: unknown class 0.5: there are 2, from 0; left out",
    ]


def test_an_outline_counts_by_the_box_around_it(yolo: Path) -> None:
    (yolo / "labels/train/a.txt").write_text("0 0.1 0.5 0.5 0.25 0.5 0.75\n")
    found = read_yolo(walk_folder(yolo, ANNOTATION_ENDINGS))
    assert found.parts["train"][0].boxes[0].corners == pytest.approx((6, 10, 30, 30))


def test_folders_of_splits_that_hold_images_and_labels(write_pictures: Write) -> None:
    names = [f"{part}/images/{n}.png" for part in ("train", "valid") for n in "ab"]
    root = write_pictures(*names, size=(40, 60))
    for name in names:
        label = (root / name.replace("images", "labels")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.5 0.25\n")
    (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnames: ['x']")
    found = read_yolo(walk_folder(root, ANNOTATION_ENDINGS))
    assert [p.name for p in found.parts["val"]] == ["valid/images/a.png", "valid/images/b.png"]
    assert (len(found.parts["train"]), found.problems, found.notes) == (2, (), ())


@pytest.mark.parametrize("names", ["names.yaml", "classes.txt", None])
def test_labels_beside_pictures(write_pictures: Write, names: str | None) -> None:
    root = write_pictures(*(f"{n}.png" for n in range(5)), size=(40, 60))
    for n in range(5):
        (root / f"{n}.txt").write_text("1 0.5 0.5 0.5 0.25\n")
    if names == "names.yaml":
        (root / names).write_text("names:\n  0: cat\n  1: dog\n")
    elif names:
        (root / names).write_text("cat\ndog\n")
    dataset = load_path(root, Reading())
    assert dataset.class_names == (("cat", "dog") if names else ("class 0", "class 1"))
    assert (len(dataset.train), len(dataset.test)) == (4, 1)


def test_lists_of_pictures_are_splits(yolo: Path) -> None:
    (yolo / "data.yaml").write_text("train: one.txt\nval: two.txt\nnames: [a, b]")
    (yolo / "one.txt").write_text("./images/train/a.png\n./images/none.png\n")
    (yolo / "two.txt").write_text("/data/set/images/val/a.png\n")
    found = read_yolo(walk_folder(yolo, ANNOTATION_ENDINGS))
    assert [p.name for p in found.parts["train"]] == ["images/train/a.png"]
    assert [p.name for p in found.parts["val"]] == ["images/val/a.png"]
    assert [p.why for p in found.problems] == ["picture images/none.png is missing"]
    assert found.notes == ("in no split of data.yaml, and left out: 4 pictures",)


def test_paths_of_another_machine_do_not_mix_the_splits(yolo: Path) -> None:
    (yolo / "data.yaml").write_text("train: x/train/images\nval: x/val/images\nnames: [a, b]")
    found = read_yolo(walk_folder(yolo, ANNOTATION_ENDINGS))
    assert {part: len(own) for part, own in found.parts.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: [a, 'b, c', \"d\"]", ["a", "b, c", "d"]),
        ("names:\n  - a\n  - b # second\n", ["a", "b"]),
        ("names:\n- a\n- b\n", ["a", "b"]),
        ("names: {0: a, 1: b}", ["a", "b"]),
        ('names:\n  0: "say \\"x\\""\n  1: \'b\'', ['say "x"', "b"]),
    ],
)
def test_names_in_all_the_ways_of_yaml(text: str, expected: list[str]) -> None:
    assert read_yaml(f"path: ../x\n{text}\nnc: 3") == {"path": "../x", "names": expected, "nc": "3"}
