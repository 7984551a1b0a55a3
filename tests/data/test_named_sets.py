"""camvid and bccd, as they lie in the data folder and as their sources lay them out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convolens.data.bccd import load_bccd
from convolens.data.camvid import CAMVID_CLASSES, CAMVID_COLOURS, load_camvid
from convolens.data.folder import Reading
from convolens.errors import UnavailableError

Write = Callable[..., Path]


def test_camvid_of_the_data_folder(real_data: Path, tmp_path: Path) -> None:
    dataset, again = (load_camvid(root=real_data, cache=tmp_path, reading=Reading()) for _ in "12")
    assert dataset.val is not None
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (367, 101, 233)
    assert dataset.mask_names == CAMVID_CLASSES
    assert (dataset.format.size, dataset.problems) == ((180, 240), ())
    masks = torch.as_tensor(dataset.train.targets["masks"])
    shares = masks.flatten().long().bincount(minlength=256) / masks.numel()
    # As the data folder's own page gives them.
    published = [0.168, 0.232, 0.010, 0.318, 0.045, 0.097, 0.012, 0.011, 0.059, 0.006, 0.003]
    assert shares[:11].tolist() == pytest.approx(published, abs=0.0006)
    assert float(shares[255]) == pytest.approx(0.040, abs=0.0006)
    assert torch.equal(torch.as_tensor(again.train.targets["masks"]), masks)
    assert (again.tasks, again.mask_names) == (("segment",), CAMVID_CLASSES)
    own = tuple(CAMVID_COLOURS.values())
    assert (dataset.mask_colours, again.mask_colours) == (own, own)


def test_bccd_of_the_data_folder(real_data: Path, tmp_path: Path) -> None:
    dataset, again = (
        load_bccd(root=real_data, cache=tmp_path, reading=Reading(image_size=64)) for _ in "12"
    )
    assert dataset.val is not None
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (205, 87, 72)
    assert dataset.class_names == ("Platelets", "RBC", "WBC")
    labels = [
        torch.cat(split.targets["box_labels"])  # type: ignore[arg-type]
        for split in (dataset.train, dataset.val, dataset.test)
    ]
    assert torch.cat(labels).bincount().tolist() == [361, 4153, 372]
    assert [problem.where.rpartition("/")[2] for problem in dataset.problems] == [
        "BloodImage_00338.xml object 13 (RBC)",
        "BloodImage_00343.xml object 4 (RBC)",
    ]
    for split, kept in ((dataset.train, again.train), (dataset.test, again.test)):
        for kind in ("boxes", "box_labels", "box_ignore"):
            pairs = zip(split.targets[kind], kept.targets[kind], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    assert again.tasks == ("detect",)


def test_camvid_as_segnet_lays_it_out(write_pictures: Write, tmp_path: Path) -> None:
    names = [f"camvid/CamVid/{part}/{n}.png" for part in ("train", "val", "test") for n in "ab"]
    root = write_pictures(*names, size=(12, 20))
    for name in names:
        path = root / name.replace("/a.png", "annot/a.png").replace("/b.png", "annot/b.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((12, 20), 11, np.uint8)).save(path)
    dataset = load_camvid(root=root, cache=tmp_path, reading=Reading())
    assert dataset.mask_names == CAMVID_CLASSES
    assert dataset.mask_colours == tuple(CAMVID_COLOURS.values())
    assert (torch.as_tensor(dataset.train.targets["masks"]) == 255).all()


@pytest.mark.parametrize(("load", "name"), [(load_camvid, "camvid"), (load_bccd, "bccd")])
def test_what_is_not_there_is_explained(
    load: Callable[..., object], name: str, tmp_path: Path
) -> None:
    message = f"'{name}' was not found in the data root .*\nPut the folder .* github.com/"
    with pytest.raises(UnavailableError, match=message):
        load(root=tmp_path, cache=tmp_path, reading=Reading())
