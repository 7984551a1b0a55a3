from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convolens.data.annotations import ANNOTATION_ENDINGS, detection_dataset
from convolens.data.folder import Reading
from convolens.data.formats import kind_of, load_path
from convolens.data.tree import walk_folder
from convolens.data.voc import read_voc
from convolens.errors import DataError

Write = Callable[..., Path]

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def page(*objects: tuple[object, ...], size: tuple[int, int] = (40, 60)) -> str:
    inner = "".join(OBJECT.format(*item) for item in objects)
    sides = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    return f"<annotation>{sides}{inner}</annotation>"


@pytest.fixture
def voc(write_pictures: Write) -> Path:
    """Two pictures of 60×40 px to train with, one for validation and one for the test."""
    root = write_pictures(*(f"JPEGImages/{n}.png" for n in "abcd"), size=(40, 60))
    pages = root / "Annotations"
    pages.mkdir()
    (pages / "a.xml").write_text(page(("dog", 0, 11, 6, 30, 25), ("cat", 1, 1, 1, 60, 40)))
    (pages / "b.xml").write_text(page())
    (pages / "c.xml").write_text(page(("cat", 0, 2, 2, 9, 9)))
    (pages / "d.xml").write_text(page(("dog", 0, 2, 2, 9, 9)))
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, stems in (("train", "a\nb\n"), ("val", "c 1\n"), ("test", "d\n")):
        (lists / f"{name}.txt").write_text(stems)
    return root


def test_boxes_classes_and_splits_are_read(voc: Path) -> None:
    tree = walk_folder(voc, ANNOTATION_ENDINGS)
    assert kind_of(tree) == "voc"
    found = read_voc(tree)
    assert found.problems == ()
    assert found.class_names == ("cat", "dog")
    a, b = found.parts["train"]
    assert [box.corners for box in a.boxes] == [(10, 5, 30, 25), (0, 0, 60, 40)]
    assert [(box.label, box.ignore) for box in a.boxes] == [(1, False), (0, True)]
    assert (a.size, b.boxes) == ((40, 60), ())
    assert [len(found.parts[part]) for part in ("train", "val", "test")] == [2, 1, 1]


def test_a_dataset_holds_the_boxes_in_its_own_pixels(voc: Path) -> None:
    dataset = load_path(voc, Reading(image_size=120))
    assert (dataset.format.size, dataset.format.fit) == ((96, 120), "pad")
    assert (dataset.tasks, dataset.class_names) == (("detect",), ("cat", "dog"))
    # 60×40 becomes 120×80, with 8 rows above and below.
    assert dataset.train.targets["boxes"][0].tolist() == [[20, 18, 60, 58], [0, 8, 120, 88]]
    assert dataset.train.targets["boxes"][1].shape == (0, 4)
    assert dataset.train.targets["box_labels"][0].dtype == torch.int64
    assert dataset.train.targets["box_ignore"][0].tolist() == [False, True]
    assert dataset.train.pictures.batch(torch.tensor([0, 1])).shape == (2, 3, 96, 120)
    assert dataset.val is not None
    assert dataset.val.names == ["JPEGImages/c.png"]


def test_a_streamed_set_has_the_same_pictures_and_boxes(voc: Path) -> None:
    memory, streamed = (load_path(voc, Reading(memory_limit_bytes=n)) for n in (1 << 30, 1))
    every = torch.tensor([0, 1])
    assert torch.equal(memory.train.pictures.batch(every), streamed.train.pictures.batch(every))
    assert torch.equal(memory.train.targets["boxes"][0], streamed.train.targets["boxes"][0])


def test_everything_that_is_wrong_is_named(voc: Path) -> None:
    pages = voc / "Annotations"
    (pages / "a.xml").write_text(
        page(
            ("dog", 0, 30, 6, 11, 25),
            ("dog", 0, 7, 7, 7, 7),
            ("dog", 0, 50, 30, 70, 50),
            ("dog", 0, 80, 3, 90, 8),
            ("dog", 0, "nan", 3, 9, 8),
            ("dog", 0, "ten", 3, 9, 8),
            ("", 0, 1, 3, 9, 8),
            size=(40, 61),
        )
    )
    (pages / "c.xml").write_text("<annotation><object>")
    (pages / "d.xml").unlink()
    (pages / "e.xml").write_text(page())
    (voc / "JPEGImages" / "b.png").write_bytes(b"no picture")
    (voc / "ImageSets" / "Main" / "test.txt").write_text("d\n\nghost\na\n")
    found = read_voc(walk_folder(voc, ANNOTATION_ENDINGS))
    (a,) = found.parts["train"]
    assert [box.corners for box in a.boxes] == [(10, 5, 30, 25), (49, 29, 60, 40)]
    told = [f"{p.where.removeprefix(str(voc) + '/')} {p.why}" for p in found.problems]
    expected = [
        "JPEGImages/d.png has no XML file; left out",
        "Annotations/e.xml has no picture",
        "ImageSets/Main/test.txt line 3 picture ghost is missing",
        "a is in both train and test",
        "Annotations/a.xml says 61×40, the picture has 60×40 px",
        "Annotations/a.xml object 6 (dog) expected four numbers in bndbox, received "
        "['ten', '3', '9', '8']; left out",
        "Annotations/a.xml object 7 has no name; left out",
        "JPEGImages/b.png is not a picture, or its beginning is damaged",
        "Annotations/c.xml is no whole XML file (no element found: line 1, column 20); left out "
        "with its picture",
        "Annotations/a.xml object 1 (dog) box (30, 6, 11, 25): swapped corners, put right",
        "Annotations/a.xml object 2 (dog) box (7, 7, 7, 7): no area; left out",
        "Annotations/a.xml object 3 (dog) box (50, 30, 70, 50): reaches outside of the picture of "
        "60×40 px, clipped",
        "Annotations/a.xml object 4 (dog) box (80, 3, 90, 8): outside of the picture of 60×40 px; "
        "left out",
        "Annotations/a.xml object 5 (dog) box (nan, 3, 9, 8): expected four finite numbers; "
        "left out",
    ]
    assert sorted(told) == sorted(expected)


def test_a_list_of_classes_tells_unknown_ones(voc: Path) -> None:
    (voc / "classes.txt").write_text("dog\nbird\n")
    found = read_voc(walk_folder(voc, ANNOTATION_ENDINGS))
    assert found.class_names == ("dog", "bird")
    assert [p.why for p in found.problems] == [
        "class 'cat' is not in the list of classes; left out"
    ] * 2


def test_a_box_that_begins_at_0_says_that_numbers_are_distances(voc: Path) -> None:
    (voc / "Annotations" / "a.xml").write_text(page(("dog", 0, 0, 6, 30, 25)))
    found = read_voc(walk_folder(voc, ANNOTATION_ENDINGS))
    assert found.parts["train"][0].boxes[0].corners == (0, 6, 30, 25)
    assert found.notes == ("boxes begin at 0: corners are taken as distances from the edge",)


def test_xml_beside_pictures_in_folders_of_splits(write_pictures: Write) -> None:
    names = [f"{part}/{n}.png" for part in ("train", "valid") for n in "ab"]
    root = write_pictures(*names, size=(40, 60))
    for name in names:
        (root / name).with_suffix(".xml").write_text(page(("dog", 0, 2, 3, 9, 8)))
    dataset = load_path(root, Reading())
    assert (len(dataset.train), dataset.val, len(dataset.test)) == (2, None, 2)
    assert dataset.notes == ("no test split: 'valid' is kept for the test",)


def test_a_set_of_one_piece_keeps_a_fixed_fifth(write_pictures: Write) -> None:
    root = write_pictures(*(f"images/{n}.png" for n in range(10)), size=(40, 60))
    (root / "annotations").mkdir()
    for n in range(10):
        kind = "dog" if n < 5 else "cat"
        (root / "annotations" / f"{n}.xml").write_text(page((kind, 0, 2, 3, 9, 8)))
    dataset = load_path(root, Reading())
    assert (len(dataset.train), len(dataset.test)) == (8, 2)
    assert sorted(int(labels[0]) for labels in dataset.test.targets["box_labels"]) == [0, 1]
    assert dataset.test.names == load_path(root, Reading(image_size=64)).test.names


def test_a_set_without_objects_is_no_set(voc: Path) -> None:
    (voc / "Annotations" / "a.xml").write_text(page())
    found = read_voc(walk_folder(voc, ANNOTATION_ENDINGS))
    with pytest.raises(DataError, match="no training picture has an object"):
        detection_dataset(found, "voc", Reading())


def test_entities_are_not_expanded(voc: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation>&b;</annotation>'
    (voc / "Annotations" / "a.xml").write_text(bomb)
    found = read_voc(walk_folder(voc, ANNOTATION_ENDINGS))
    assert [p.why for p in found.problems] == ["defines entities, which are not read; left out"]
