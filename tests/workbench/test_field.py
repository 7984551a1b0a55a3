from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convolens as cl
from convolens.errors import ConfigError, ShapeError
from convolens.workbench.field import field


def test_by_hand() -> None:
    seen = field("lenet5", "conv2", (0, 0))
    assert (seen.rows, seen.cols, seen.unit) == ((0, 13), (0, 13), (0, 0))
    assert seen.textbook is not None
    assert (seen.textbook.size, seen.textbook.stride) == ((14, 14), (2, 2))
    assert field("lenet5", "conv2", (3, 2)).rows == (6, 19)
    assert field("lenet5", "conv2").unit == (5, 5)
    assert field("lenet5", "fc3").to_json() == {
        "layer": "fc3",
        "unit": [],
        "rows": [0, 31],
        "cols": [0, 31],
        "size": None,
        "stride": None,
        "start": None,
    }


@pytest.mark.parametrize(("layer", "size"), [("features.30", 212), ("features.28", 196)])
def test_published_sizes_of_vgg16(layer: str, size: int) -> None:
    """Araujo et al. (2019), table 1, for pool5; conv5_3 is 16 less."""
    seen = field("vgg16", layer, (0, 0))
    assert seen.textbook is not None
    assert seen.textbook.size == (size, size)
    assert seen.rows == (0, seen.textbook.start[0] + size - 1)


def test_modules_and_operations_are_layers() -> None:
    net = cl.models.resnet18()
    assert field(net, "layer1", input_size=(3, 64, 64)).unit == (8, 8)
    with pytest.raises(ConfigError, match=r"has no layer named 'layer9'\nDid you mean layer4"):
        field(net, "layer9", input_size=(3, 64, 64))


def test_units_that_are_not_there() -> None:
    with pytest.raises(ShapeError) as caught:
        field("lenet5", "conv2", (10, 0))
    assert str(caught.value) == "conv2 has 10×10, and no unit 10,0\nUnits are counted from 0,0."
    with pytest.raises(ShapeError, match="conv2 has 10×10, and no unit 1"):
        field("lenet5", "conv2", (1,))


def test_the_effective_field_is_within_the_exact_one(tmp_path: Path) -> None:
    seen = field("lenet5", "conv2", (3, 2), effective=True)
    assert seen.effective is not None
    assert seen.effective.shape == (32, 32)
    rows, cols = np.nonzero(seen.effective)
    assert (rows.min(), rows.max()) == seen.rows
    assert (cols.min(), cols.max()) == seen.cols
    assert 1 < (seen.effective_side or 0) <= 14


def test_a_drawing(tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), (30, 120, 200)).save(tmp_path / "a.png")
    seen = field("lenet5", "conv2", (0, 0), image=tmp_path / "a.png", effective=True)
    assert seen.figure is not None
    assert "14×14" in seen.figure.caption
    with pytest.raises(ShapeError, match=r"cannot be drawn|is no picture"):
        field("2x100 | conv 4 5 | relu", "conv1", image=tmp_path / "a.png")


def test_a_unit_that_sees_padding_only() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1, padding=2))
    seen = field(net, "0", (0, 0), input_size=(1, 5, 5))
    assert (seen.rows, seen.cols) == (None, None)
    assert seen.to_json()["rows"] is None
    assert torch.equal(net(torch.zeros(1, 1, 5, 5))[0, 0, 0, 0], net[0].bias[0])
