from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convolens
from convolens.data.digits import load_digits
from convolens.data.picture import read_as
from convolens.errors import ConfigError, DataError, RunError
from convolens.visual.feature_maps import feature_maps
from convolens.visual.figure import png_bytes
from convolens.visual.layers import maps_of
from convolens.workbench.look import look
from convolens.workbench.run import Run
from convolens.workbench.train import train

CODE = """
import torch.nn.functional as F
from torch import nn


class Functional(nn.Module):
    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 3, padding=1, stride=2)
        self.second = nn.Conv2d(4, 6, 3)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(6, num_classes)

    def forward(self, x):
        x = F.relu(self.second(self.relu(self.first(x))))
        return self.last(x.mean((2, 3)))


def linear(num_classes=10, in_channels=1, image_size=32):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))
"""


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "digit.png"
    pixels = load_digits().test.pictures.batch(torch.tensor([3]))[0, 0].numpy()
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "networks_to_look_at.py"
    path.write_text(CODE)
    return path


def test_all_figures_are_written_and_are_what_the_network_gives(
    digits_run: Run, digit: Path
) -> None:
    found = convolens.look(digits_run, digit)
    folder = digits_run.path / "figures" / "look-digit"
    assert [s.file.name for s in found.files] == [
        *("flow.png", "flow.svg", "filters.png", "features-conv1.png", "features-act2.png"),
        *("saliency.png", "receptive-field.png", "window-conv1.gif"),
    ]
    assert sorted(folder.iterdir()) == sorted(shown.file for shown in found.files)
    (prediction,) = digits_run.predict(digit)
    assert found.predicted[0] == prediction.label == found.asked
    assert found.predicted[1] == pytest.approx(prediction.probability, abs=1e-5)
    pixels, _ = read_as(digit, digits_run.format)
    x = digits_run.task.prepare(pixels[None], torch.zeros(1), None)[0]
    maps = maps_of(digits_run.network("cpu"), x, ["act2"])["act2"][0]
    assert found.layer == "act2"
    assert float(maps[found.unit]) == pytest.approx(float(maps.max()), abs=1e-5)
    _, y, x_ = found.unit
    assert (found.rows, found.cols) == ((2 * y, 2 * y + 13), (2 * x_, 2 * x_ + 13))
    assert found.completeness_error < 0.01
    written = np.asarray(Image.open(folder / "features-act2.png")).astype(int)
    expected = png_bytes(feature_maps(maps.numpy(), "act2"))
    assert np.abs(written - np.asarray(Image.open(BytesIO(expected)))).mean() < 0.1


def test_layers_and_class_that_are_asked_for(digits_run: Run, digit: Path, tmp_path: Path) -> None:
    found = look(
        digits_run.path,
        digit,
        out=tmp_path / "new" / "place",
        layers=["fc1", "pool1"],
        class_name="8",
    )
    assert found.asked == "8"
    names = [shown.file.name for shown in found.files]
    assert names[3:5] == ["features-fc1.png", "features-pool1.png"]
    assert (tmp_path / "new" / "place" / "features-fc1.png").is_file()
    assert "for '8'" in found.files[5].caption


def test_networks_that_a_user_brings(file: Path, digit: Path, tmp_path: Path) -> None:
    run = train("digits", model=f"{file}:Functional", epochs=1, out=tmp_path)
    found = look(run, digit)
    assert found.layer == "relu#2"
    assert [s.file.name for s in found.files][3:6] == [
        *("features-first.png", "features-relu.png", "features-relu-2.png"),
    ]
    run = train("digits", model=f"{file}:linear", epochs=1, out=tmp_path)
    found = look(run, digit)
    assert (found.layer, found.unit, found.rows) == (None, None, None)
    assert [s.file.name for s in found.files] == [
        *("flow.png", "flow.svg", "templates.png", "features-0.png", "saliency.png"),
    ]


def test_words_that_are_wrong(digits_run: Run, digit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no layer 'conv3'\nDid you mean conv2"):
        look(digits_run, digit, layers=["conv3"], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="the Run has no class 'cat'"):
        look(digits_run, digit, class_name="cat", out=tmp_path / "out")
    with pytest.raises(ConfigError, match="channels are chosen without a picture"):
        look(digits_run, digit, channels=[1], out=tmp_path / "out")
    with pytest.raises(DataError, match="absent"):
        look(digits_run, tmp_path / "absent.png", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RunError, match="cannot be written"):
        look(digits_run, digit, out=digit)
