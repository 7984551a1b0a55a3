import json
import shutil
from pathlib import Path

import pytest

from convolens.cli import main
from convolens.cli.evaluate import split_words
from convolens.workbench.train import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("runs")
    first, second = (train("digits", epochs=2, seed=seed, out=out).path for seed in (0, 1))
    return first, second


def call(*words: object, capsys: pytest.CaptureFixture) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_several_runs_report_each_and_all(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    alone = []
    for run in runs:
        status, out, _ = call("eval", run, "--json", capsys=capsys)
        assert status == 0
        alone.append(json.loads(out))
        assert set(alone[-1]) == {"run", "dataset", "metrics"}
    status, out, _ = call("eval", *runs, "digits", "--json", capsys=capsys)
    assert status == 0
    together = json.loads(out)
    assert together["runs"] == [{"run": a["run"], "metrics": a["metrics"]} for a in alone]
    assert together["dataset"] == "digits"
    assert together["metrics"]["test_accuracy"] > 0.2
    status, out, _ = call("eval", *runs, "--tta", "flip", capsys=capsys)
    lines = out.splitlines()
    assert [lines[0], lines[4], lines[8]] == [*map(str, runs), "all 2, probabilities averaged"]
    assert len(lines) == 12


def test_which_words_are_runs(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = map(str, runs)
    assert split_words([first]) == ([first], None)
    assert split_words([first, second]) == ([first, second], None)
    assert split_words([first, "digits"]) == ([first], "digits")
    assert split_words([first, second, str(tmp_path)]) == ([first, second], str(tmp_path))
    assert split_words(["no/such/run"]) == (["no/such/run"], None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "no/such/run", "RUN"], "there is no Run at no/such/run"),
        (["RUN", "no/such/data"], "no/such/data"),
        (["RUN", "--tta", "flop"], "--tta"),
    ],
)
def test_wrong_words(
    runs: tuple[Path, Path], words: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    words = [str(runs[0]) if word == "RUN" else word for word in words]
    status, out, error = call("eval", *words, capsys=capsys)
    assert status == 2
    assert message in error
    assert not out
    assert 1 <= len(error.strip().splitlines()) <= 2


def test_predict_with_views(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from PIL import Image

    Image.effect_noise((32, 32), 80).save(tmp_path / "a.png")
    found = []
    for words in ([], ["--tta", "none"], ["--tta", "crops"]):
        status, out, _ = call(
            "predict", runs[0], tmp_path / "a.png", "--json", *words, capsys=capsys
        )
        assert status == 0
        found.append(json.loads(out)["predictions"])
    assert found[0] == found[1] != found[2]


def test_finding_a_rate(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = call("train", "--find-lr", "--json", capsys=capsys)
    assert status == 0
    found = json.loads(out)
    assert found["figure"] == "runs/lr-find.png"
    assert 1e-4 < found["suggestion"] < 1e-1
    assert len(found["rates"]) == len(found["losses"]) > 50
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["lr-find.png"]
    status, _, error = call("train", "--find-lr", "--name", "x", capsys=capsys)
    assert status == 2
    assert "--find-lr leaves no Run" in error
    shutil.rmtree(tmp_path / "runs")
    _, _, error = call("train", "--find-lr", "--epochs", "2", capsys=capsys)
    assert "Try: convolens train … --set optimizer.lr=" in error


def test_beginning_with_a_runs_weights(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["train", "--epochs", "1", "--weights", runs[0], "--out", tmp_path]
    status, _, error = call(*words, capsys=capsys)
    assert status == 0
    assert "loaded 10 of 10 tensors" in error
