from pathlib import Path

import pytest
import torch
from PIL import Image

import convolens
from convolens.data.digits import load_digits
from convolens.errors import ConfigError, DataError, RunError
from convolens.workbench.explain import draw_explanation, explain, network_and_input
from convolens.workbench.run import Run


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    pixels = load_digits().test.pictures.batch(torch.tensor([3]))[0, 0]
    Image.fromarray(pixels.numpy()).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def test_a_runs_unit_is_what_its_network_computes(digits_run: Run, digit: Path) -> None:
    found = convolens.explain(digits_run.path, digit, layer="conv1", unit=(0, 10, 12))
    network, x = network_and_input(digits_run, digit)
    expected = float(network.get_submodule("conv1")(x)[0, 0, 10, 12].detach())
    assert found.network == expected
    assert found.difference <= 1e-5
    assert (found.rows, found.cols) == ((10, 14), (12, 16))


def test_the_last_layer_is_what_predict_says(digits_run: Run, digit: Path) -> None:
    (said,) = digits_run.predict(digit)
    names = digits_run.task.class_names
    logits = [explain(digits_run, digit, layer="fc3", unit=(c,)).computed for c in range(10)]
    assert names[max(range(10), key=logits.__getitem__)] == said.label


def test_drawings(digits_run: Run, digit: Path, tmp_path: Path) -> None:
    found = explain(digits_run, digit, layer="fc1", unit=(3,), depth=2)
    draw_explanation(found, digits_run, digit, tmp_path / "unit.png")
    draw_explanation(found, digits_run, digit, tmp_path / "unit.svg")
    with Image.open(tmp_path / "unit.png") as drawn:
        assert drawn.format == "PNG"
    assert (tmp_path / "unit.svg").read_text(encoding="utf-8").startswith("<svg")
    with pytest.raises(
        ConfigError, match=r"--out must end in \.png or \.svg, received .*unit\.jpg"
    ):
        draw_explanation(found, digits_run, digit, tmp_path / "unit.jpg")


def test_wrong_words(digits_run: Run, digit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no layer called 'conv9'\nDid you mean conv"):
        explain(digits_run, digit, layer="conv9", unit=(0, 0, 0))
    with pytest.raises(DataError, match=r"absent\.png"):
        explain(digits_run, tmp_path / "absent.png", layer="conv1", unit=(0, 0, 0))
    with pytest.raises(RunError, match="was trained to classify and has no detections"):
        explain(digits_run, digit, detection=0)
