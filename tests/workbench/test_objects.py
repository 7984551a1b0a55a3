"""Objects beside the receptive field, on boxes of known size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convolens.errors import DataError
from convolens.workbench.objects import objects_beside_field

NET = "3x64x64 | conv 8 3x3 p1 | relu | conv 8 3x3 /2 p1 | relu | conv 4 3x3 p1"


@pytest.fixture
def boxes(tmp_path: Path) -> str:
    """Objects of 8, 9, 10 and 40 px: the third layer sees 9 px."""
    for part in ("train", "test"):
        (tmp_path / "images" / part).mkdir(parents=True)
        (tmp_path / "labels" / part).mkdir(parents=True)
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / f"images/{part}/a.png")
        sides = [(0, 8), (0, 9), (1, 10), (1, 40)]
        lines = [f"{label} 0.5 0.5 {side / 64} {8 / 64}" for label, side in sides]
        (tmp_path / f"labels/{part}/a.txt").write_text("\n".join(lines))
    (tmp_path / "data.yaml").write_text(
        "train: images/train\ntest: images/test\nnames: [small, large]\n"
    )
    return str(tmp_path)


def test_the_share_that_does_not_fit(boxes: str) -> None:
    found = objects_beside_field(NET, "conv3", boxes, input_size=(3, 64, 64))
    assert found.field == (9, 9)
    assert found.num_objects == 4
    assert found.larger == 0.5
    assert found.larger_by_class == {"small": 0.0, "large": 1.0}
    assert found.median == (8.0, 9.0)


def test_data_without_boxes() -> None:
    with pytest.raises(DataError, match="digits has no boxes to measure"):
        objects_beside_field(NET, "conv3", "digits")
