import json
from pathlib import Path

import pytest
from PIL import Image

from convolens.cli import main


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for part in ("train", "test"):
        (root / "images" / part).mkdir(parents=True)
        (root / "labels" / part).mkdir(parents=True)
        for n in range(2):
            Image.new("RGB", (60, 40)).save(root / "images" / part / f"{n}.png")
            (root / "labels" / part / f"{n}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [cat]")
    return root


def ended(*words: str) -> object:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return end.value.code


def test_a_clean_set_ends_with_0(yolo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("check", str(yolo)) == 0
    assert capsys.readouterr().out == (
        f"{yolo}: YOLO set\n"
        "\n"
        "          train  test\n"
        "pictures      2     2\n"
        "objects       2     2\n"
        "  cat         2     2\n"
        "\n"
        "objects: 4 small (below 32×32 px), 0 medium, 0 large (96×96 px or more)\n"
        "side, √(w·h), in px: 24 to 24, median 24, eight tenths within 24 to 24\n"
        "share of the picture's side: 50.0% to 50.0%, median 50.0%, eight tenths within 50.0% to "
        "50.0%\n"
        "\n"
        "no problems\n"
    )


def test_problems_end_with_1_in_words_and_json(
    yolo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (yolo / "labels/train/0.txt").write_text("0 0.5 0.5 0 0.5\n")
    why = "box (30, 10, 30, 30): no area; left out"
    assert ended("check", str(yolo)) == 1
    out = capsys.readouterr().out
    assert out.endswith(f"1 problem\n  {yolo}/labels/train/0.txt line 1: {why}\n")
    assert "  without objects      1     0\n" in out
    assert ended("check", str(yolo), "--json") == 1
    page = json.loads(capsys.readouterr().out)
    assert page["problems"] == [{"where": f"{yolo}/labels/train/0.txt line 1", "why": why}]
    assert (page["format"], page["pictures"]) == ("yolo", {"train": 2, "test": 2})


def test_no_such_path_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("check", str(tmp_path / "none")) == 2
    assert "there is no folder, archive or file at" in capsys.readouterr().err


def test_convert(yolo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("convert", str(yolo), "--to", "coco", "--out", str(tmp_path / "coco"))
    assert ended(*words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'coco'}: 4 pictures, 4 objects\n"
    assert ended("check", str(tmp_path / "coco")) == 0
    capsys.readouterr()
    assert ended(*words) == 2
    assert "coco exists already\nGive a new folder" in capsys.readouterr().err
    assert ended("convert", str(yolo), "--to", "xml", "--out", "x") == 2
    capsys.readouterr()
    (yolo / "labels/train/0.txt").write_text("0 0.5 0.5 0 0.5\n")
    assert ended(*words[:3], "voc", "--out", str(tmp_path / "voc"), "--link", "--json") == 0
    page = json.loads(capsys.readouterr().out)
    assert (page["pictures"], page["objects"], len(page["problems"])) == (4, 3, 1)
    assert (tmp_path / "voc" / "JPEGImages" / "1.png").is_symlink()
