import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convolens
from convolens.data.digits import load_digits
from convolens.errors import ConfigError, RunError
from convolens.visual.figure import png_bytes
from convolens.visual.patches import patches_figure, strongest_patches
from convolens.workbench.look import RunLook, look
from convolens.workbench.run import Run
from convolens.workbench.train import train


def pixels_of(file: Path | BytesIO) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def seen(digits_run: Run) -> RunLook:
    return convolens.look(digits_run)


def test_all_that_belongs_to_a_run_is_drawn(digits_run: Run, seen: RunLook) -> None:
    folder = digits_run.path / "figures" / "look"
    assert [shown.file for shown in seen.files] == [
        folder / f"{name}.png"
        for name in (
            *("filters", "templates", "patches-conv1", "patches-act2"),
            *("ascent-act2", "ascent-classes", "embedding-pca", "embedding-t-sne"),
            *("calibration", "per-class"),
        )
    ]
    assert seen.layers == ("conv1", "act2")
    assert seen.missing == ()
    assert all(shown.file.is_file() and shown.caption for shown in seen.files)
    assert pixels_of(folder / "filters.png").tolist() == (
        pixels_of(digits_run.path / "figures" / "filters.png").tolist()
    )
    accuracy = digits_run.test["metrics"]["accuracy"]
    assert f"all classes together, {accuracy:.1%}" in seen.files[-1].caption
    assert "10 of 32×32" in seen.files[1].caption
    # What is climbed is what the activation reads, which has a slope everywhere.
    assert "excite channels of conv2" in seen.files[4].caption


def expected_patches(run: Run, layer: str, channels: list[int]) -> np.ndarray:
    found = strongest_patches(
        run.network("cpu"),
        load_digits().test.pictures,
        lambda pixels: run.task.prepare(pixels, torch.zeros(1), None)[0],
        layer,
        channels=channels,
    )
    return pixels_of(BytesIO(png_bytes(patches_figure(found, layer))))


def assert_alike(drawn: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for last digits, since the Run's plan may compute in another layout."""
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).mean() < 0.5


def test_the_patches_are_those_of_the_test_pictures(digits_run: Run, seen: RunLook) -> None:
    expected = expected_patches(digits_run, "conv1", [0, 1, 2, 3, 4, 5])
    assert_alike(pixels_of(seen.files[2].file), expected)


def test_layers_and_channels_that_are_asked_for(digits_run: Run, tmp_path: Path) -> None:
    found = look(digits_run.path, layers=["pool1"], channels=[4, 2], out=tmp_path / "out")
    names = [shown.file.name for shown in found.files]
    assert names[2:4] == ["patches-pool1.png", "ascent-pool1.png"]
    expected = expected_patches(digits_run, "pool1", [4, 2])
    assert_alike(pixels_of(tmp_path / "out" / "patches-pool1.png"), expected)


def test_without_its_dataset_one_sentence_and_the_rest(tmp_path: Path, stripes: Path) -> None:
    settings = ["data.image_size=24", "plan=reference"]
    run = train(
        str(stripes),
        model="1x24x24 | conv 4 3x3 | relu | gap | fc 2",
        epochs=1,
        out=tmp_path,
        name="run",
        settings=settings,
    )
    shutil.rmtree(stripes)
    found = look(run)
    (sentence,) = found.missing
    assert sentence.startswith("Without the Run's dataset there are no templates, patches,")
    assert "there is no folder or archive at" in sentence
    names = [shown.file.name for shown in found.files]
    assert names == ["filters.png", "ascent-relu1.png", "ascent-classes.png"]


def test_words_that_are_wrong(digits_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a class is asked about a picture"):
        look(digits_run, class_name="8", out=tmp_path / "out")
    with pytest.raises(ConfigError, match="no layer 'conv3'\nDid you mean conv2"):
        look(digits_run, layers=["conv3"], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="conv1 has no channel 6: it has 0 to 5"):
        look(digits_run, layers=["conv1"], channels=[6], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run = Run.open(shutil.copytree(digits_run.path, tmp_path / "copy"))
    shutil.rmtree(run.path / "weights")
    with pytest.raises(RunError, match=r"best\.safetensors is missing"):
        look(run)
