import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convolens.data.annotations import Annotated, Annotations, Box
from convolens.data.convert import _WRITERS, AnnotationFormat, _named, convert_dataset
from convolens.data.formats import annotations_of, kind_of, opened_path
from convolens.data.tree import Tree
from convolens.errors import DataError

Write = Callable[..., Path]
FORMATS: tuple[AnnotationFormat, ...] = ("voc", "coco", "yolo")


def read(path: Path) -> Annotations:
    tree, kind, chosen = opened_path(path, 1 << 30)
    return annotations_of(tree, kind, chosen)


def told(found: Annotations) -> dict[str, list[tuple[str, list[Box]]]]:
    """Stem and boxes of the pictures of each split."""
    return {
        part: sorted((Path(p.name).stem, list(p.boxes)) for p in own)
        for part, own in found.parts.items()
    }


@pytest.fixture
def coco(write_pictures: Write) -> Path:
    """Three splits of pictures of 61×43 px; whole boxes, one a crowd, and bare pictures."""
    root = write_pictures(*(f"{p}/{p}{n}.png" for p in ("train", "val", "test") for n in "12"))
    for path in root.rglob("*.png"):
        Image.new("RGB", (61, 43)).save(path)
    (root / "annotations").mkdir()
    for part in ("train", "val", "test"):
        images = [{"id": n, "file_name": f"{part}{n}.png", "width": 61, "height": 43} for n in "12"]
        boxes = [([0, 0, 61, 43], 1), ([7, 5, 11, 2], 0), ([59, 41, 2, 2], 0)]
        page = {
            "images": images,
            "annotations": [
                {"id": n, "image_id": "1", "category_id": 1 + n % 2, "bbox": b, "iscrowd": crowd}
                for n, (b, crowd) in enumerate(boxes)
            ],
            "categories": [{"id": n, "name": name} for n, name in enumerate("xyz")],
        }
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(page))
    return root


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_holds_what_it_can(coco: Path, tmp_path: Path, to: AnnotationFormat) -> None:
    before = read(coco)
    done = convert_dataset(coco, to=to, out=tmp_path / "new" / "set")
    assert (done.pictures, done.objects, done.problems) == (6, 9, ())
    after = read(tmp_path / "new" / "set")
    assert (after.format, after.problems, after.notes) == (to, (), ())
    assert after.class_names == ("x", "y", "z")
    if to == "yolo":
        assert done.notes == (
            "3 crowds or difficult objects are not written: YOLO cannot mark them",
        )
    else:
        assert done.notes == ()
        assert told(after) == told(before)
    pairs = [
        (mine, theirs)
        for part in ("train", "val", "test")
        for (_, own), (_, others) in zip(told(after)[part], told(before)[part], strict=True)
        for mine, theirs in zip(
            own, [b for b in others if to != "yolo" or not b.ignore], strict=True
        )
    ]
    assert len(pairs) == (6 if to == "yolo" else 9)
    for mine, theirs in pairs:
        assert mine.label == theirs.label
        assert mine.corners == pytest.approx(theirs.corners, abs=1e-3)


PIXELS = st.integers(5, 800)
CORNER = st.tuples(st.floats(0, 1), st.floats(0, 1))


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(PIXELS, PIXELS),
    corners=st.lists(st.tuples(CORNER, CORNER), max_size=4),
    to=st.sampled_from(FORMATS),
)
def test_boxes_come_back(
    size: tuple[int, int],
    corners: list[tuple[tuple[float, float], tuple[float, float]]],
    to: AnnotationFormat,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Exactly in COCO, to 1e-3 px in YOLO, to half a pixel in VOC where a box is 2 px or more."""
    h, w = size
    boxes = []
    for (a, b), (c, d) in corners:
        x0, x1, y0, y1 = min(a, c) * w, max(a, c) * w, min(b, d) * h, max(b, d) * h
        if x1 - x0 >= 3 and y1 - y0 >= 3:
            boxes.append(Box(corners=(x0, y0, x1, y1), label=len(boxes) % 2))
    folder = tmp_path_factory.mktemp("set")
    Image.new("1", (w, h)).save(folder / "a.png")
    source = str(folder / "a.png")
    picture = Annotated(name="a.png", source=source, size=size, mode="1", boxes=tuple(boxes))
    found = Annotations(
        format="coco",
        where=str(folder),
        class_names=("x", "y"),
        parts={"train": (picture,)},
        words={},
        problems=(),
    )
    (folder / "out").mkdir()
    _WRITERS[to](folder / "out", found, _named(found), False)
    again = read(folder / "out")
    assert again.problems == ()
    assert again.words == {}
    (back,) = again.parts["train"]
    far = {"coco": 1e-9, "yolo": 1e-3, "voc": 0.5 + 1e-9}[to]
    for mine, theirs in zip(back.boxes, boxes, strict=True):
        assert mine.label == theirs.label
        assert mine.corners == pytest.approx(theirs.corners, abs=far)


def test_a_box_of_one_pixel_stays_a_box_in_voc(coco: Path, tmp_path: Path) -> None:
    file = coco / "annotations" / "instances_train.json"
    page = json.loads(file.read_text())
    for item, box in zip(
        page["annotations"], ([0, 0, 1, 1], [60, 42, 1, 1], [5, 5, 1, 9]), strict=True
    ):
        item["bbox"] = box
    file.write_text(json.dumps(page))
    done = convert_dataset(coco, to="voc", out=tmp_path / "voc")
    assert done.notes == ("3 boxes of one pixel across are widened to two, as VOC needs",)
    after = read(tmp_path / "voc")
    assert after.problems == ()
    corners = [box.corners for box in after.parts["train"][0].boxes]
    assert corners == [(0, 0, 2, 2), (59, 41, 61, 43), (4, 5, 6, 14)]


def test_pictures_are_copied_or_linked(coco: Path, tmp_path: Path) -> None:
    convert_dataset(coco, to="yolo", out=tmp_path / "copied")
    convert_dataset(coco, to="yolo", out=tmp_path / "linked", link=True)
    copied, linked = (
        tmp_path / kind / "images" / "val" / "val2.png" for kind in ("copied", "linked")
    )
    assert copied.read_bytes() == linked.read_bytes() == (coco / "val" / "val2.png").read_bytes()
    assert (copied.is_symlink(), linked.is_symlink()) == (False, True)


def test_an_archive_is_unpacked_and_cannot_be_linked(coco: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(coco, "set")
    convert_dataset(tmp_path / "set.tar.gz", to="coco", out=tmp_path / "new")
    assert told(read(tmp_path / "new")) == told(read(coco))
    with pytest.raises(DataError, match="lie in an archive, so they cannot be linked"):
        convert_dataset(tmp_path / "set.tar.gz", to="coco", out=tmp_path / "other", link=True)


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="full exists already\nGive a new folder"):
        convert_dataset(coco, to="voc", out=tmp_path / "full")
    monkeypatch.setattr("convolens.data.convert._yolo_line", lambda box, size: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert_dataset(coco, to="yolo", out=tmp_path / "half")
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != coco.name)
    assert left == ["full"]


def test_pictures_of_one_name_stay_apart(write_pictures: Write, tmp_path: Path) -> None:
    root = write_pictures(*(f"{part}/1.png" for part in ("train", "test")), size=(40, 60))
    for part in ("train", "test"):
        (root / part / "1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [x]")
    convert_dataset(root, to="voc", out=tmp_path / "voc")
    names = sorted(path.name for path in (tmp_path / "voc" / "JPEGImages").iterdir())
    assert names == ["1.png", "test_1.png"]


def test_what_is_no_detection_set_is_named(write_pictures: Write, tmp_path: Path) -> None:
    root = write_pictures("a/1.png", "b/1.png")
    tree = Tree(where="x", files=(), folders=frozenset())
    assert kind_of(tree) == "classes"
    with pytest.raises(DataError, match="pictures is no VOC, COCO or YOLO set\nVOC has an XML"):
        convert_dataset(root, to="voc", out=tmp_path / "voc")
