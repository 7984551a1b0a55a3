import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import convolens
from convolens.data.digits import load_digits
from convolens.errors import ConvolensError, DataError, RunError, ShapeError
from convolens.workbench.evaluate import evaluate
from convolens.workbench.run import Run


@pytest.fixture
def copy(digits_run: Run, tmp_path: Path) -> Path:
    shutil.copytree(digits_run.path, tmp_path / "copy")
    return tmp_path / "copy"


def digit_picture(index: int) -> tuple[Image.Image, int]:
    test = load_digits().test
    labels = test.targets["label"]
    return Image.fromarray(test.pictures.batch(torch.tensor([index]))[0, 0].numpy()), labels[index]


def test_prediction_of_the_datasets_own_pictures_is_that_of_evaluation(
    digits_run: Run, tmp_path: Path
) -> None:
    right = 0
    for index in range(40):
        picture, label = digit_picture(index)
        picture.save(tmp_path / "digit.png")
        right += digits_run.predict(tmp_path / "digit.png")[0].label == str(int(label))
    assert right >= 0.8 * digits_run.test["metrics"]["accuracy"] * 40


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "1", "I;16"])
def test_any_kind_of_picture(digits_run: Run, tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "I;16") else "picture.png")
    Image.effect_noise((70, 50), 80).convert(mode).save(path)
    (prediction,) = digits_run.predict(path)
    assert len(prediction.labels) == 5
    values = [value for _, value in prediction.labels]
    assert values == sorted(values, reverse=True)
    assert 0 < sum(values) <= 1 + 1e-6


def test_dark_ink_on_light_paper_is_swapped(digits_run: Run, tmp_path: Path) -> None:
    picture, _ = digit_picture(0)
    picture.save(tmp_path / "light.png")
    Image.fromarray(255 - np.asarray(picture)).save(tmp_path / "dark.png")
    light, dark = digits_run.predict(tmp_path / "light.png", tmp_path / "dark.png")
    assert (light.inverted, dark.inverted) == (False, True)
    assert light.labels == dark.labels


def test_top_and_the_public_words(digits_run: Run, tmp_path: Path) -> None:
    picture, _ = digit_picture(0)
    picture.save(tmp_path / "digit.png")
    (one,) = convolens.predict(digits_run.path, tmp_path / "digit.png", top=1)
    assert len(one.labels) == 1
    (all_of_them,) = digits_run.predict(tmp_path / "digit.png", top=99)
    assert sum(value for _, value in all_of_them.labels) == pytest.approx(1, abs=1e-5)
    with pytest.raises(DataError, match="top must be at least 1"):
        digits_run.predict(tmp_path / "digit.png", top=0)


@pytest.mark.parametrize("name", ["weights/best.safetensors", "config.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "flipped"])
def test_missing_and_damaged_files_are_named(copy: Path, name: str, how: str) -> None:
    file = copy / name
    data = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 0x81]) + data[middle + 1 :]
        file.write_bytes({"empty": b"", "cut": data[:middle], "flipped": flipped}[how])
    with pytest.raises(RunError) as caught:
        evaluate(copy)
    assert str(copy) in caught.value.message
    assert "\n" not in caught.value.message


def test_weights_of_another_network(copy: Path) -> None:
    file = copy / "weights" / "best.safetensors"
    tensors = load_file(file)
    tensors["conv1.weight"] = torch.zeros(6, 3, 5, 5)
    save_file(tensors, file)
    with pytest.raises(ShapeError, match=r"conv1\.weight"):
        evaluate(copy)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no Run at"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(RunError, match="is not a Run"):
        Run.open(tmp_path)


def test_other_classes_are_refused(digits_run: Run) -> None:
    with pytest.raises(DataError, match="shapes has the classes"):
        evaluate(digits_run, "shapes")


def test_pictures_that_cannot_be_read(digits_run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no picture")
    for name in ("words.jpg", "absent.png"):
        with pytest.raises(ConvolensError, match=name):
            digits_run.predict(tmp_path / name)
