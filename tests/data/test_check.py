import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convolens.data.check import check_dataset_folder
from convolens.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def yolo(write_pictures: Write) -> Path:
    """Eight pictures of 60×40 px with a cat of 30×20 each, and a dog of 6×4 in every second."""
    names = [f"images/{part}/{n}.png" for part in ("train", "test") for n in range(4)]
    root = write_pictures(*names, size=(40, 60))
    for index, name in enumerate(names):
        label = (root / name.replace("images", "labels")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        dog = "1 0.5 0.5 0.1 0.1\n" if index % 2 else ""
        label.write_text(f"0 0.5 0.5 0.5 0.5\n{dog}")
    (root / "data.yaml").write_text("names: [cat, dog]")
    return root


def test_a_clean_set_is_counted(yolo: Path) -> None:
    (yolo / "labels/train/0.txt").write_text("")
    checked = check_dataset_folder(yolo)
    assert (checked.kind, checked.problems, checked.notes) == ("yolo", (), ())
    assert checked.pictures == {"train": 4, "test": 4}
    assert checked.empty == {"train": 1, "test": 0}
    assert checked.counts == {"train": {"cat": 3, "dog": 2}, "test": {"cat": 4, "dog": 2}}
    assert checked.sizes is not None
    assert (checked.sizes.small, checked.sizes.medium, checked.sizes.large) == (11, 0, 0)
    assert checked.sizes.side_px[0] == pytest.approx(24**0.5)
    assert checked.sizes.side_px[2] == pytest.approx(600**0.5)
    assert checked.sizes.share[4] == pytest.approx(0.5)
    page = json.loads(json.dumps(checked.to_json()))
    assert page["counts"]["train"] == {"cat": 3, "dog": 2}
    assert page["sizes"]["small"] == 11


def test_what_loading_would_not_meet_is_found_too(yolo: Path) -> None:
    (yolo / "labels/train/0.txt").write_text("0 0.5 0.5 0.5 0.5\n" * 2)
    (yolo / "labels/test/0.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    (yolo / "labels/train/1.txt").write_text("3 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n")
    (yolo / "data.yaml").write_text("names: [cat, dog, Dog, bird]")
    whole = (yolo / "images/train/3.png").read_bytes()
    (yolo / "images/train/3.png").write_bytes(whole[:-200])
    checked = check_dataset_folder(yolo)
    told = [f"{p.where.removeprefix(str(yolo))} {p.why}" for p in checked.problems]
    assert next(text for text in told if "damaged" in text).startswith("/images/train/3.png is ")
    assert [text for text in told if "damaged" not in text] == [
        "/images/train/0.png cat box (15, 10, 45, 30) is there 2 times",
        "/images/train/1.png class 'bird' has no other object",
        "/images/test/0.png class 'Dog' is never in train",
        " classes 'dog' and 'Dog' differ in capitals alone",
    ]


def test_a_set_that_cannot_be_read_at_all_is_a_problem(write_pictures: Write) -> None:
    root = write_pictures("images/1.png")
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text("{")
    checked = check_dataset_folder(root)
    (problem,) = checked.problems
    assert "instances_train.json is no whole JSON file" in problem.why
    assert checked.pictures == {}


def test_sets_of_masks_and_of_classes_are_counted(write_pictures: Write) -> None:
    root = write_pictures(*(f"images/{n}.png" for n in range(5)), size=(8, 8))
    for n in range(5):
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), n % 2, np.uint8)).save(root / f"masks/{n}.png")
    checked = check_dataset_folder(root)
    assert (checked.kind, checked.unit, checked.pictures) == (
        "masks",
        "pixels",
        {"train": 4, "test": 1},
    )
    pixels = [sum(own.values()) for own in checked.counts.values()]
    assert pixels == [4 * 64, 64]
    classes = write_pictures(*(f"../classes/{kind}/{n}.png" for kind in "ab" for n in range(5)))
    checked = check_dataset_folder(classes.parent / "classes")
    assert (checked.kind, checked.unit) == ("classes", "pictures")
    assert checked.counts == {"train": {"a": 4, "b": 4}, "test": {"a": 1, "b": 1}}


def test_reports_tell_how_far_it_is(yolo: Path) -> None:
    told: list[tuple[int, int]] = []
    check_dataset_folder(yolo, lambda done, count: told.append((done, count)))
    assert told[-1] == (8, 8)


def test_a_path_with_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder, archive or file at"):
        check_dataset_folder(tmp_path / "none")
    with pytest.raises(DataError, match="holds no pictures"):
        check_dataset_folder(tmp_path)
