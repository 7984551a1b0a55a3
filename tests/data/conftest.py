"""Small pictures and folders, and the data folder beside the checkout where there is one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WritePictures = Callable[..., Path]


@pytest.fixture
def real_data() -> Path:
    folder = Path(__file__).parents[2] / "../shared/data"
    if not folder.is_dir():
        pytest.skip("the data folder is not beside this checkout")
    return folder


@pytest.fixture
def write_pictures(tmp_path: Path) -> WritePictures:
    """Writes noise under the given names below a folder: (names, mode, size (h, w)) -> folder."""

    def write(*names: str, mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> Path:
        root = tmp_path / "pictures"
        for index, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (*size, 3) if mode == "RGB" else size
            values = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(values).save(path)
        return root

    return write
