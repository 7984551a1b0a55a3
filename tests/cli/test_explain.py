import json
from pathlib import Path

import pytest
from PIL import Image

from convolens.cli import main
from convolens.cli.explain import unit_of
from convolens.errors import ConfigError
from convolens.workbench.train import train


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("explain")
    Image.effect_noise((40, 40), 80).save(folder / "noise.png")
    run = train("digits", epochs=1, out=folder)
    return ["explain", str(run.path), str(folder / "noise.png")]


def call(words: list[str], capsys: pytest.CaptureFixture) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_text_json_and_drawing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = [*words, "--layer", "pool1", "--unit", "0,10,12", "--depth", "2"]
    status, out, err = call([*asked, "--out", str(tmp_path / "unit.svg")], capsys)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "pool1, unit (0, 10, 12): average pool 2×2"
    assert "    act1, unit (0, 20, 24): convolution 5×5 in conv1" in lines
    assert lines[-1] == f"drawn in {tmp_path / 'unit.svg'}"
    assert (tmp_path / "unit.svg").is_file()
    status, out, err = call([*asked, "--json"], capsys)
    tree = json.loads(out)
    assert (status, err, tree["run"], tree["image"]) == (0, "", *words[1:])
    assert (tree["unit"], len(tree["terms"]), len(tree["children"])) == ([0, 10, 12], 4, 3)
    assert tree["difference"] <= 1e-5


def test_wrong_words_end_with_2_and_two_lines(
    words: list[str], capsys: pytest.CaptureFixture
) -> None:
    for more, message in (
        (["--layer", "conv9", "--unit", "0,0,0"], "no layer called 'conv9'\nDid you mean conv2"),
        (["--layer", "conv1", "--unit", "0,0"], "a unit of conv1 (6×28×28) is C,Y,X"),
        (["--layer", "conv1", "--unit", "0,0,28"], "conv1 (6×28×28) has no unit 0,0,28"),
        (["--layer", "conv1", "--unit", "a"], "--unit must be C,Y,X in whole numbers"),
        (["--layer", "conv1", "--unit", "0,0,0", "--out", "a.gif"], "--out must end in .png"),
        (["--layer", "conv1", "--unit", "0,0,0", "--depth", "0"], "depth must be a whole number"),
        (["--unit", "0,0,0"], "Missing option '--layer'"),
    ):
        status, out, err = call([*words, *more], capsys)
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") <= 2


def test_units_as_words() -> None:
    assert unit_of("0,10, 12") == (0, 10, 12)
    assert unit_of("7") == (7,)
    with pytest.raises(ConfigError, match="For example: --unit 0,10,12"):
        unit_of("0,,1")
