from pathlib import Path

import pytest
import torch

from convolens.data.digits import load_digits
from convolens.errors import DataError
from convolens.web.examples import example_of, examples_of
from convolens.web.folders import Folders
from convolens.web.scene import Opened, open_run, scene_of


@pytest.fixture(scope="module")
def opened(trained: Path) -> Opened:
    return open_run(trained / "first")


def test_the_test_pictures_of_the_runs_own_data(opened: Opened, trained: Path) -> None:
    split = examples_of(opened, Folders(runs=(trained,)))
    expected = load_digits().test
    example = example_of(split, opened, 3)
    assert torch.equal(example.pixels, expected.pictures.batch(torch.tensor([3]))[0])
    assert example.name.endswith(f", class {int(expected.targets['label'][3])}")
    assert scene_of(opened, example.pixels).labels
    again = example_of(split, opened, 3 + len(expected.pictures))
    assert again.name == example.name


def test_data_outside_of_the_folders_is_not_shown(
    opened: Opened, trained: Path, tmp_path: Path
) -> None:
    object.__setattr__(opened.run.config.data, "name", str(tmp_path))
    with pytest.raises(DataError, match="not in the folders that the app was given"):
        examples_of(opened, Folders(runs=(trained,)))
