import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.data.annotations import ANNOTATION_ENDINGS
from convolens.data.folder import Reading, load_folder
from convolens.data.formats import kind_of, load_path
from convolens.data.picture import decode_mask, picture_header
from convolens.data.registry import load_dataset
from convolens.data.tree import walk_folder

Write = Callable[..., Path]


def pack(root: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root, "photos")
    return path


def test_texts_beside_pictures_leave_classes_classes(write_pictures: Write, tmp_path: Path) -> None:
    root = write_pictures(*(f"{c}/{i}.png" for c in "ab" for i in range(5)))
    (root / "README.txt").write_text("flowers")
    (root / "notes.json").write_text("{}")
    (root / "a" / "0.txt").write_text("a caption of a flower, with a number of words")
    (root / "b" / "meta.xml").write_text("<x/>")
    assert kind_of(walk_folder(root, ANNOTATION_ENDINGS)) == "classes"
    packed = pack(root, tmp_path / "photos.tar.gz")
    plain, folder, archive = (
        load_folder(root),
        load_path(root, Reading()),
        load_path(packed, Reading()),
    )
    assert folder.train.names == plain.train.names == archive.train.names
    assert folder.problems == plain.problems == archive.problems == ()


def test_an_archive_of_boxes_is_kept_decoded(
    write_pictures: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_pictures(*(f"images/train/{i}.png" for i in range(5)), size=(40, 60))
    (root / "labels" / "train").mkdir(parents=True)
    for i in range(5):
        (root / f"labels/train/{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n" * (i % 3))
    packed = pack(root, tmp_path / "set.tar.gz")
    first = load_dataset(str(packed), root=tmp_path, cache=tmp_path / "c", image_size=64)
    monkeypatch.setattr("convolens.data.registry.load_path", lambda *_: 1 / 0)
    again = load_dataset(str(packed), root=tmp_path, cache=tmp_path / "c", image_size=64)
    assert (again.tasks, again.class_names) == (("detect",), ("class 0",))
    for kind in ("boxes", "box_labels", "box_ignore"):
        pairs = zip(again.train.targets[kind], first.train.targets[kind], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_picture_on_its_side_has_the_size_it_is_shown_at(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "side.jpg", exif=exif)
    assert picture_header(tmp_path / "side.jpg", "side") == ("RGB", (60, 40))


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "RGB", "RGBA", "LA"])
def test_a_mask_gives_the_numbers_it_is_stored_as(tmp_path: Path, mode: str) -> None:
    numbers = np.array([[0, 1, 7], [200, 1, 255]], np.uint8) if mode != "1" else np.eye(2, 3) > 0
    if mode in ("RGB", "RGBA"):
        image = Image.fromarray(np.repeat(numbers[..., None], 3, 2)).convert(mode)
    elif mode == "I;16":
        image = Image.fromarray(numbers.astype(np.uint16))
    else:
        image = Image.fromarray(numbers)
        if mode == "P":
            image.putpalette([5 * n % 256 for n in range(768)])
        if mode == "LA":
            image = image.convert("LA")
    assert image.mode == mode
    image.save(tmp_path / "m.png")
    values = decode_mask(tmp_path / "m.png", "m")
    found = values[..., 1] if mode in ("RGB", "RGBA") else values
    assert torch.equal(found.long(), torch.from_numpy(numbers.astype(np.int64)))
    assert values.ndim == (3 if mode in ("RGB", "RGBA") else 2)
