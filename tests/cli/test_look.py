import json
from pathlib import Path

import pytest
from PIL import Image

from convolens.cli import main
from convolens.workbench.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("digits", epochs=1, out=tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.effect_noise((20, 20), 90).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def call(*words: object, capsys: pytest.CaptureFixture) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_it_says_what_to_look_for(
    run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    words = ("look", run, picture, "--out", out, "--layer", "conv2", "--layer", "fc2")
    status, text, _ = call(*words, "--class", 4, capsys=capsys)
    assert status == 0
    assert "saliency is for 4." in text
    for file in out.iterdir():
        assert f"{file}\n  " in text
    assert {"features-conv2.png", "features-fc2.png"} <= {file.name for file in out.iterdir()}
    status, text, _ = call(*words, "--json", capsys=capsys)
    tree = json.loads(text)
    assert status == 0
    assert {*tree} == {
        *("run", "image", "predicted", "class", "layer", "unit", "rows", "cols"),
        *("completeness_error", "files"),
    }
    assert {Path(shown["file"]) for shown in tree["files"]} == {*out.iterdir()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "conv9"], "the network has no layer 'conv9'\nDid you mean conv"),
        (["--class", "dog"], "the Run has no class 'dog'"),
    ],
)
def test_wrong_words(
    run: Path, picture: Path, words: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    status, text, error = call("look", run, picture, *words, capsys=capsys)
    assert (status, text) == (2, "")
    assert error.startswith(f"convolens: {message}")
    assert len(error.splitlines()) <= 2


def test_without_a_picture_it_shows_what_was_learned(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    words = ("look", run, "--out", out, "--layer", "conv1", "--channel", 2, "--json")
    status, text, error = call(*words, capsys=capsys)
    assert (status, error) == (0, "")
    tree = json.loads(text)
    assert {*tree} == {"run", "image", "layers", "missing", "files"}
    assert (tree["image"], tree["layers"], tree["missing"]) == (None, ["conv1"], [])
    assert {Path(shown["file"]) for shown in tree["files"]} == {*out.iterdir()}
    status, text, error = call("look", run, "--class", "4", capsys=capsys)
    assert (status, text) == (2, "")
    assert error.startswith("convolens: a class is asked about a picture")
