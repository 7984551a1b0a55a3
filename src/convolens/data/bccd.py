"""BCCD: blood smears under the microscope, with a box around every cell."""

from pathlib import Path

from convolens.data.annotations import detection_dataset
from convolens.data.base import Dataset
from convolens.data.cache import cached
from convolens.data.folder import Reading
from convolens.data.formats import opened_path
from convolens.data.root import find_in_root, not_in_root
from convolens.data.tree import is_archive
from convolens.data.voc import read_voc


def load_bccd(*, root: Path, cache: Path, reading: Reading) -> Dataset:
    """Reads BCCD, with its own splits of 205, 87 and 72 pictures, from the root.

    In ROOT/bccd and in ROOT it looks for an archive `bccd*.tar.gz` (or another archive), then for
    a folder `BCCD`, in the layout of VOC. What lies in an archive is kept unpacked in the cache
    folder. Its classes are Platelets, RBC and WBC.

    Source: github.com/Shenggan/BCCD_Dataset.
    Args:
        reading: `image_size` is the longer side [px].
    Raises:
        DataError: when a file is damaged.
        UnavailableError: when it is not there.
    """
    path = find_in_root(root, "bccd", ("BCCD", "BCCD_Dataset/BCCD"))
    if path is None:
        raise not_in_root(
            root,
            "bccd",
            archive="the folder BCCD of BCCD_Dataset, or an archive bccd*.tar.gz of it,",
            source="it is at github.com/Shenggan/BCCD_Dataset",
        )

    def make() -> Dataset:
        tree, _, _ = opened_path(path, reading.memory_limit_bytes)
        return detection_dataset(read_voc(tree), "bccd", reading)

    if not is_archive(path):
        return make()
    return cached([path], f"bccd {reading.image_size} {reading.channels}", cache, make)
