import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from convolens.cli import main
from convolens.cli.sizes import place_of, sizes_of
from convolens.errors import ConfigError

Captured = pytest.CaptureFixture[str]


def call(*words: object, capsys: Captured) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_json_is_the_contract(capsys: Captured) -> None:
    status, out, err = call("summary", "lenet5", "--batch", "2", "--json", capsys=capsys)
    assert (status, err) == (0, "")
    tree = json.loads(out)
    assert (tree["model"], tree["input"], tree["batch"]) == ("lenet5", [1, 32, 32], 2)
    assert tree["rows"][0] | {"saved_bytes": 0} == {
        "name": "conv1",
        "type": "Conv2d",
        "output": [6, 28, 28],
        "params": 156,
        "macs": 2 * 117_600,
        "flops": 2 * 239_904,
        "saved_bytes": 0,
        "field": {"size": [5, 5], "stride": [1, 1], "start": [0, 0]},
    }
    assert tree["rows"][-1]["field"] is None
    names = {"params", "trainable_params", "macs", "flops", "param_bytes"}
    assert names | {"inference_peak_bytes", "training_peak_bytes"} <= set(tree["totals"])
    assert tree["totals"]["params"] == 61_706
    assert tree["uncounted"] == []


def test_the_table(capsys: Captured) -> None:
    status, out, err = call("summary", "resnet18", capsys=capsys)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "resnet18: input 3×224×224, batch 1"
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("params") and "11,689,512" in line for line in lines)
    folded = len(lines)
    _, out, _ = call("summary", "resnet18", "--all", capsys=capsys)
    assert len(out.splitlines()) > folded
    assert "layer4.1.conv2" in out


def test_how_a_number_comes_about(capsys: Captured) -> None:
    status, out, _ = call("summary", "alexnet", "conv1", "--how", capsys=capsys)
    assert status == 0
    assert "(227 + 2·0 − 11)/4 + 1 = 55" in out
    assert "11·11·3·96 + 96 = 34,944" in out
    everything = call("summary", "lenet5", "--how", capsys=capsys)[1]
    assert "conv1" in everything
    assert "fc3" in everything


def test_documents(tmp_path: Path, capsys: Captured) -> None:
    page, drawing = tmp_path / "a.html", tmp_path / "a.svg"
    words = ("summary", "lenet5", "--html", page, "--svg", drawing)
    status, out, err = call(*words, capsys=capsys)
    assert (status, out) == (0, "")
    assert err == f"written: {drawing}\nwritten: {page}\n"
    assert "61,706" in page.read_text(encoding="utf-8")
    assert ET.fromstring(drawing.read_text(encoding="utf-8")).tag.endswith("svg")
    status, out, _ = call("summary", "lenet5", "--markdown", capsys=capsys)
    assert out.count("\n| ") > 10
    status, _, err = call("summary", "lenet5", "--svg", tmp_path / "no" / "a.svg", capsys=capsys)
    assert (status, err) == (
        1,
        f"convolens: {tmp_path}/no/a.svg cannot be written: No such file or directory\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary"], "Missing argument 'MODEL'"),
        (["summary", "lenet6"], "there is no network called 'lenet6'\nDid you mean lenet5"),
        (
            ["summary", "lenet5", "--input", "3x"],
            "--input must be CxHxW such as 3x224x224, received",
        ),
        (["summary", "lenet5", "--input", "0x2"], "received '0x2'"),
        (["summary", "lenet5", "--batch", "0"], "batch must be a whole number from 1, received 0"),
        (["summary", "lenet5", "--optimizer", "x"], "optimizer must be one of sgd, momentum, adam"),
        (["summary", "lenet5", "conv1"], "conv1 is one word too many\nA layer is named with --how"),
        (["summary", "lenet5", "--how", "--json"], "--json, --markdown and --how exclude"),
        (["summary", "lenet5", "convx", "--how"], "lenet5 has no layer named 'convx'"),
        (["summary", "vgg16", "--input", "1x28x28"], "28 px does not fit VGG"),
        (
            ["summary", "1x8x8 | conv 4 3x3 | relu", "--input", "2x8x8", "--input", "3"],
            "forward(",
        ),
        (["summary", "torchvision:resnet18", "--input", "1x64x64"], "takes 3 channels, received 1"),
    ],
)
def test_errors_are_one_or_two_lines(words: list[str], message: str, capsys: Captured) -> None:
    status, out, err = call(*words, capsys=capsys)
    assert (status, out) == (2, "")
    assert err.startswith("convolens: ")
    assert message in err
    assert err.count("\n") <= 2


def test_sizes_and_places() -> None:
    assert sizes_of(None) is None
    assert sizes_of(["3X224x224"]) == (3, 224, 224)
    assert sizes_of(["16x1000", "5"]) == ((16, 1000), (5,))
    assert place_of(None) is None
    with pytest.raises(ConfigError, match="--unit must be Y,X such as 6,6, received 'a'"):
        place_of("a")


def test_a_terminal_gets_colours(capsys: Captured) -> None:
    from rich.console import Console

    from convolens.analysis.table.lines import lines_of
    from convolens.cli.table import _show_in_colour
    from convolens.workbench.summary import summarize

    console = Console(width=80, force_terminal=True, color_system="truecolor", record=True)
    _show_in_colour(lines_of(summarize("resnet18")), console)
    shown = console.export_text()
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "11,689,512" in shown
    assert "\x1b[1m" in capsys.readouterr().out


def test_the_command_imports_no_more_than_it_needs() -> None:
    code = """
import sys
from convolens.cli import main
try:
    main(["summary", "vgg16", "--json"])
finally:
    names = ("sympy", "torch._dynamo", "torchvision", "sklearn", "matplotlib", "rich.table")
    print([name for name in names if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["totals"]["params"] == 138_357_544
    assert done.stderr == "[]\n"
