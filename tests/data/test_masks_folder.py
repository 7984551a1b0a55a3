import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.data.base import Dataset
from convolens.data.files import FilePictures
from convolens.data.folder import Reading
from convolens.data.formats import load_path
from convolens.errors import DataError

Write = Callable[..., Path]
SPLITS = [f"{part}/{n}" for part in ("train", "val", "test") for n in "ab"]


def put_mask(path: Path, values: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image.putpalette([n % 7 * 30 for n in range(768)])
    image.save(path)


def stripes(numbers: list[int], size: tuple[int, int] = (12, 20)) -> np.ndarray:
    """A mask whose columns are these numbers in turn."""
    return np.broadcast_to(np.resize(numbers, size[1]), size)


@pytest.fixture
def folder(write_pictures: Write) -> Path:
    root = write_pictures(*(f"images/{name}.png" for name in SPLITS), size=(12, 20))
    for name in SPLITS:
        put_mask(root / "masks" / f"{name}.png", stripes([0, 1, 2, 255]))
    return root


def values(dataset: Dataset) -> torch.Tensor:
    return torch.as_tensor(dataset.train.targets["masks"])


def test_masks_and_splits_are_read(folder: Path) -> None:
    dataset = load_path(folder, Reading())
    assert dataset.problems == ()
    assert dataset.val is not None
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (2, 2, 2)
    assert (dataset.tasks, dataset.mask_names) == (("segment",), ("class 0", "class 1", "class 2"))
    assert (dataset.format.size, dataset.format.fit) == ((12, 20), "pad")
    assert values(dataset).dtype == torch.uint8
    assert torch.equal(values(dataset)[0], torch.from_numpy(stripes([0, 1, 2, 255]).copy()).byte())
    assert dataset.train.names == ["images/train/a.png", "images/train/b.png"]


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("images/{}.jpg", "labels/{}.png"),
        ("img/{}.jpg", "annotations/{}.png"),
        ("train/images/{}.jpg", "train/masks/{}.png"),
        ("train/{}.png", "trainannot/{}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("images/{}.jpg", "masks/{}_mask.png"),
        ("images/{}.png", "labels/{}_L.png"),
        ("images/{}.png", "annotations/trimaps/{}.png"),
    ],
)
def test_pictures_and_masks_of_many_layouts(write_pictures: Write, picture: str, mask: str) -> None:
    root = write_pictures(*(picture.format(n) for n in range(5)), size=(12, 20))
    for n in range(5):
        put_mask(root / mask.format(n), stripes([0, 1]), palette=True)
    dataset = load_path(root, Reading())
    assert (len(dataset.train), len(dataset.test)) == (4, 1)
    assert dataset.notes == (
        "no test split: a fifth of the pictures, always the same, is kept for the test",
    )
    assert values(dataset)[0, 0, :4].tolist() == [0, 1, 0, 1]


def test_classes_are_named_and_void_is_255(folder: Path) -> None:
    page = {
        "classes": [{"id": n, "name": name} for n, name in enumerate(("void", "sky", "road"))],
        "ignore_index": 0,
    }
    (folder / "classes.json").write_text(json.dumps(page))
    dataset = load_path(folder, Reading())
    assert dataset.mask_names == dataset.class_names == ("sky", "road")
    assert values(dataset)[0, 0, :4].tolist() == [255, 0, 1, 255]
    (folder / "classes.json").write_text('["sky", "road", "void"]')
    assert values(load_path(folder, Reading()))[0, 0, :4].tolist() == [0, 1, 255, 255]


@pytest.mark.parametrize("file", ["classes.json", "label_colors.txt"])
def test_masks_of_colours(folder: Path, file: str) -> None:
    colours = np.array([[128, 0, 0], [0, 64, 0], [0, 0, 0], [9, 9, 9]], np.uint8)
    for name in SPLITS:
        put_mask(folder / "masks" / f"{name}.png", colours[stripes([0, 1, 2])])
    put_mask(folder / "masks" / "train/a.png", colours[stripes([0, 1, 2, 3])])
    with pytest.raises(DataError, match="holds colours, and no file says what they mean"):
        load_path(folder, Reading())
    names = ("sky", "road", "Void")
    if file == "classes.json":
        page = [{"name": n, "rgb": c} for n, c in zip(names, colours.tolist(), strict=False)]
        (folder / file).write_text(json.dumps({"classes": page}))
    else:
        lines = [f"{r} {g} {b}\t{n}" for n, (r, g, b) in zip(names, colours, strict=False)]
        (folder / file).write_text("\n".join(lines))
    dataset = load_path(folder, Reading())
    assert dataset.mask_names == ("sky", "road")
    assert dataset.mask_colours == ((128, 0, 0), (0, 64, 0))
    assert values(dataset)[0, 0, :4].tolist() == [0, 1, 255, 255]
    (problem,) = dataset.problems
    assert problem.where.endswith("masks/train/a.png")
    assert problem.why == "colour (9, 9, 9) of no class: 25 % of its pixels, now void"


def test_0_and_255_alone_are_background_and_foreground(folder: Path) -> None:
    for name in SPLITS:
        put_mask(folder / "masks" / f"{name}.png", stripes([0, 255]))
    dataset = load_path(folder, Reading())
    assert dataset.mask_names == ("background", "foreground")
    assert values(dataset)[0, 0, :2].tolist() == [0, 1]
    assert "masks hold 0 and 255 alone: they are background and foreground" in dataset.notes


def test_everything_that_is_wrong_is_named(folder: Path) -> None:
    (folder / "classes.txt").write_text("a\nb\n")
    (folder / "masks/train/b.png").write_bytes(b"none")
    (folder / "masks/val/a.png").unlink()
    (folder / "images/val/b.png").unlink()
    (folder / "images/test/a.png").write_bytes(b"")
    put_mask(folder / "masks/test/b.png", stripes([0, 1], (20, 20)))
    with pytest.raises(DataError, match="none of the test pictures can be read"):
        load_path(folder, Reading())
    put_mask(folder / "masks/test/b.png", stripes([0, 1], (24, 40)))
    put_mask(folder / "masks/test/c.png", stripes([0, 1], (20, 20)))
    Image.new("RGB", (20, 12)).save(folder / "images/test/c.png")
    dataset = load_path(folder, Reading())
    assert [f"{p.where.removeprefix(str(folder))} {p.why}" for p in dataset.problems] == [
        "/images/val/a.png has no mask; left out",
        "/masks/val/b.png has no picture",
        "/images/test/a.png is empty (0 bytes)",
        "/masks/train/a.png value 2 of no class: 25 % of its pixels, now void",
        "/masks/train/b.png is not a picture, or its beginning is damaged; left out with its "
        "picture",
        "/masks/test/c.png has 20×20 px, its picture 20×12; left out with its picture",
    ]
    assert (len(dataset.train), len(dataset.test)) == (1, 1)
    assert torch.as_tensor(dataset.test.targets["masks"])[0, 0, :2].tolist() == [1, 1]


def test_large_pictures_are_reduced_and_odd_ones_stand_in_a_square(write_pictures: Write) -> None:
    root = write_pictures(*(f"images/{n}.png" for n in range(5)), size=(400, 600))
    for n in range(5):
        put_mask(root / f"masks/{n}.png", stripes([n], (400, 600)))
    assert load_path(root, Reading()).format.size == (160, 240)
    assert load_path(root, Reading(image_size=60)).format.size == (40, 60)
    Image.new("RGB", (30, 60)).save(root / "images/0.png")
    put_mask(root / "masks/0.png", stripes([0], (60, 30)))
    dataset = load_path(root, Reading(image_size=60))
    assert dataset.format.size == (60, 60)
    place = dataset.train.names.index("images/1.png")
    assert values(dataset)[place, :, 0].tolist() == [255] * 10 + [1] * 40 + [255] * 10


def test_pictures_are_streamed_and_masks_are_not(folder: Path) -> None:
    streamed, memory = (load_path(folder, Reading(memory_limit_bytes=n)) for n in (1, 1 << 30))
    assert isinstance(streamed.train.pictures, FilePictures)
    assert torch.equal(values(streamed), values(memory))
    every = torch.arange(2)
    assert torch.equal(streamed.train.pictures.batch(every), memory.train.pictures.batch(every))


def test_classes_called_masks_and_images_stay_classes(write_pictures: Write) -> None:
    root = write_pictures(*(f"{kind}/{n}.png" for kind in ("mask", "no_mask") for n in range(5)))
    assert load_path(root, Reading()).class_names == ("mask", "no_mask")


def test_a_voc_set_may_have_boxes_and_masks(write_pictures: Write) -> None:
    root = write_pictures(*(f"JPEGImages/{n}.png" for n in range(5)), size=(12, 20))
    (root / "Annotations").mkdir()
    for n in range(5):
        box = "<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
        page = f"<annotation><object><name>{'ab'[n % 2]}</name>{box}</object></annotation>"
        (root / f"Annotations/{n}.xml").write_text(page)
        put_mask(root / f"SegmentationClass/{n}.png", stripes([0, 1 + n % 2, 255]), palette=True)
    dataset = load_path(root, Reading(image_size=20))
    assert (dataset.tasks, dataset.mask_names) == (("detect", "segment"), ("background", "a", "b"))
    for name, mask, labels in zip(
        dataset.train.names, values(dataset), dataset.train.targets["box_labels"], strict=True
    ):
        kind = int(Path(name).stem) % 2
        assert mask[mask.shape[0] // 2, :3].tolist() == [0, 1 + kind, 255]
        assert labels.tolist() == [kind]
    (root / "SegmentationClass/0.png").unlink()
    boxes_alone = load_path(root, Reading())
    assert boxes_alone.tasks == ("detect",)
    assert boxes_alone.notes[-1] == (
        f"4 of 5 pictures have a mask: give {root}/SegmentationClass to train on those"
    )
    masks = load_path(root / "SegmentationClass", Reading())
    assert (masks.tasks, len(masks.train) + len(masks.test)) == (("segment",), 4)
