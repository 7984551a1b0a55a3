import os
import shutil
from pathlib import Path

import pytest

from convolens.errors import ConfigError, DataError, RunError
from convolens.web.folders import Folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("runs/a", "runs/deep/er/b", "runs/.hidden/c", "secret/d"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def folders(root: Path) -> Folders:
    return Folders(runs=(root / "runs",))


def test_the_runs_below_the_folders(root: Path, folders: Folders) -> None:
    assert folders.names() == [str(root / "runs/a"), str(root / "runs/deep/er/b")]
    assert Folders(runs=(root / "runs/a",)).names() == [str(root / "runs/a")]
    assert Folders(runs=(root / "none",)).names() == []


def test_linked_runs_are_neither_listed_nor_opened(root: Path, folders: Folders) -> None:
    (root / "runs/link").symlink_to(root / "secret/d")
    assert str(root / "runs/link") not in folders.names()
    with pytest.raises(RunError, match="is not in the folders"):
        folders.run(str(root / "runs/link"))


@pytest.mark.parametrize("name", ["", "/etc", "{root}/secret/d", "{root}/runs/../secret/d"])
def test_nothing_outside_is_opened(root: Path, folders: Folders, name: str) -> None:
    with pytest.raises(RunError, match="is not in the folders that the app was given"):
        folders.run(name.format(root=root))


@pytest.mark.parametrize("name", ["metrics.csv", "weights"])
def test_a_run_with_a_link_that_leads_out_is_not_opened(
    root: Path, folders: Folders, name: str
) -> None:
    (root / "runs/a" / name).symlink_to(root / "secret")
    with pytest.raises(RunError, match=f"{name} is a link that leads out"):
        folders.run(str(root / "runs/a"))


def test_a_link_within_the_folders_is_followed(root: Path, folders: Folders) -> None:
    (root / "runs/a/metrics.csv").symlink_to(root / "runs/deep/er/b/config.json")
    assert folders.run(str(root / "runs/a")) == root / "runs/a"


def test_a_pipe_in_a_run_is_not_waited_for(root: Path, folders: Folders) -> None:
    os.mkfifo(root / "runs/a/metrics.csv")
    with pytest.raises(RunError, match="is neither a file nor a folder"):
        folders.run(str(root / "runs/a"))


def test_removing_a_run(root: Path, folders: Folders) -> None:
    (root / "runs/a/outside").symlink_to(root / "secret")
    folders.remove(str(root / "runs/a"))
    assert not (root / "runs/a").exists()
    assert (root / "secret/d/config.json").exists()


@pytest.mark.parametrize("name", ["{root}/secret/d", "{root}/runs", "{root}/runs/../secret/d", "/"])
def test_only_runs_of_the_folders_are_removed(root: Path, folders: Folders, name: str) -> None:
    with pytest.raises(RunError, match="is not a Run in the folders"):
        folders.remove(name.format(root=root))
    assert (root / "secret/d/config.json").exists()
    assert (root / "runs/a").exists()


def test_new_runs_go_to_a_folder_that_is_no_run(root: Path, folders: Folders) -> None:
    assert folders.out == root / "runs"
    assert Folders(runs=(root / "runs/a", root / "secret")).out == root / "secret"
    with pytest.raises(RunError, match="a new Run has no place here"):
        _ = Folders(runs=(root / "runs/a",)).out


def test_a_folder_that_is_given_twice(root: Path) -> None:
    with pytest.raises(ConfigError, match="a folder is given twice"):
        Folders(runs=(root, root))


def test_which_networks_the_app_builds(root: Path, folders: Folders) -> None:
    for word in ("lenet5", "torchvision:resnet18", "1x28x28 | conv 8 3x3 | fc 10", "a.py | b"):
        assert folders.check_model(f" {word} ") == word
    assert folders.check_model(str(root / "runs/a")) == str(root / "runs/a")
    with pytest.raises(ConfigError, match="the app runs no files"):
        folders.check_model("net.py:Net")
    with pytest.raises(ConfigError, match="the app runs no files"):
        folders.check_model("net.py:build(width=2)")
    with pytest.raises(RunError, match="is not in the folders"):
        folders.check_model(str(root / "secret/d"))
    with pytest.raises(ConfigError, match="no network is named"):
        folders.check_model("  ")


def test_which_data_the_app_reads(root: Path) -> None:
    (root / "pictures/cats").mkdir(parents=True)
    folders = Folders(runs=(root / "runs",), data_root=root / "pictures")
    assert folders.check_data("digits") == "digits"
    assert folders.check_data(str(root / "pictures/cats")) == str(root / "pictures/cats")
    for word in ("", "/etc", str(root / "secret"), "--resume=x"):
        with pytest.raises(DataError, match="is no dataset's name, and not in the folders"):
            folders.check_data(word)
    shutil.rmtree(root / "pictures/cats")
    (root / "pictures/cats").symlink_to(root / "secret")
    with pytest.raises(DataError, match="not in the folders"):
        folders.check_data(str(root / "pictures/cats"))
