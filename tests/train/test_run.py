import math
from pathlib import Path

import pytest

from convolens.errors import RunError
from convolens.train.config import Config, DataConfig, ModelConfig
from convolens.train.run import RunFolder, check_out, check_run_name, create_run_folder
from convolens.train.settings import to_json

CONFIG = Config(data=DataConfig(name="digits"), model=ModelConfig(name="lenet5"))


def test_names_count_up(tmp_path: Path) -> None:
    paths = [create_run_folder(tmp_path / "runs", None, "digits-lenet5").path for _ in range(3)]
    assert [p.name for p in paths] == ["digits-lenet5-1", "digits-lenet5-2", "digits-lenet5-3"]


def test_a_name_is_used_once(tmp_path: Path) -> None:
    assert create_run_folder(tmp_path, "mine", "x").path == tmp_path / "mine"
    with pytest.raises(RunError, match="mine already exists"):
        create_run_folder(tmp_path, "mine", "x")


@pytest.mark.parametrize("name", ["", "..", "a/b", "/tmp"])
def test_a_name_must_be_a_folders_name(name: str) -> None:
    with pytest.raises(RunError, match="--name must be the name of a folder"):
        check_run_name(name)


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    for out in (tmp_path / "runs", tmp_path / "runs" / "deep"):
        for refuse in (check_out, lambda path: create_run_folder(path, None, "x")):
            with pytest.raises(RunError, match=r"a Run cannot be written to .*runs"):
                refuse(out)
    check_out(tmp_path / "not" / "yet")


def test_metrics_there_and_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 0.25, "val_loss": 1e-300}]
    folder.write_metrics(rows)
    first, second = folder.read_metrics()
    assert first["loss"] == 0.1 + 0.2
    assert math.isnan(first["val_loss"])
    assert second == {"epoch": 2.0, "loss": 0.25, "val_loss": 1e-300}


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match=r"metrics.csv cannot be read"):
        folder.read_metrics()
    folder.metrics_file.write_text("epoch,loss\n1,abc\n")
    with pytest.raises(RunError, match=r"metrics.csv is damaged.*abc"):
        folder.read_metrics()


def test_config_there_and_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(to_json(CONFIG), {"classes": ["a"]})
    assert folder.read_config() == (CONFIG, {"classes": ["a"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a Run: it has no config.json"),
        ("", "is damaged"),
        ("[]", "is damaged: it has no format, recipe and found"),
        ('{"format": 9, "recipe": {}, "found": {}}', "has format 9, expected 1"),
        ('{"format": 1, "recipe": {}, "found": []}', "'found' is no object"),
        ('{"format": 1, "recipe": {}, "found": {}}', "is not a complete configuration"),
    ],
)
def test_a_folder_that_is_no_run(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError) as caught:
        RunFolder(tmp_path).read_config()
    assert message in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_a_value_out_of_range_in_a_configuration_is_damage(tmp_path: Path) -> None:
    tree = to_json(CONFIG)
    tree["epochs"] = 0
    RunFolder(tmp_path).write_config(tree, {})
    with pytest.raises(RunError, match=r"config.json is damaged: epochs must be a whole number"):
        RunFolder(tmp_path).read_config()
