import json
from pathlib import Path

import pytest
from PIL import Image

from convolens.cli import main

Captured = pytest.CaptureFixture[str]


def call(*words: object, capsys: Captured) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_json_and_text(capsys: Captured) -> None:
    status, out, err = call(
        "field", "vgg16", "features.4", "--unit", "0,5", "--json", capsys=capsys
    )
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "layer": "features.4",
        "unit": [0, 5],
        "rows": [0, 3],
        "cols": [8, 13],
        "size": [6, 6],
        "stride": [2, 2],
        "start": [-2, -2],
    }
    _, out, _ = call("field", "vgg16", "features.4", "--unit", "0,5", capsys=capsys)
    assert out.splitlines() == [
        "unit (0, 5) of features.4 sees rows 0 to 3 and columns 8 to 13: 4×6 pixels",
        "textbook form: size 6×6, stride 2×2, start -2×-2",
    ]


def test_a_drawing(tmp_path: Path, capsys: Captured) -> None:
    Image.new("RGB", (90, 60), (30, 120, 200)).save(tmp_path / "in.png")
    words = ("field", "lenet5", "conv2", "--image", tmp_path / "in.png")
    status, _, err = call(*words, "--out", tmp_path / "out.png", "--effective", capsys=capsys)
    assert (status, err) == (0, f"written: {tmp_path}/out.png\n")
    with Image.open(tmp_path / "out.png") as drawing:
        assert min(drawing.size) >= 32
    status, _, err = call(*words, capsys=capsys)
    assert (status, err.splitlines()[0]) == (
        2,
        "convolens: --image and --out go together: a picture, and where to draw on it",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vgg16", "nowhere"], "vgg16 has no layer named 'nowhere'"),
        (["vgg16", "features.4", "--unit", "a,b"], "--unit must be Y,X such as 6,6"),
        (["vgg16", "features.4", "--unit", "500,0"], "features.4 has 112×112, and no unit 500,0"),
    ],
)
def test_errors(words: list[str], message: str, capsys: Captured) -> None:
    status, out, err = call("field", *words, capsys=capsys)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") <= 2
