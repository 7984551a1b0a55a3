import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convolens.cli import main


def call(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convolens", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A Run made by the command, and what `--json` printed of it."""
    folder = tmp_path_factory.mktemp("cli")
    done = call("train", "--epochs", "2", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "digits-lenet5-1", json.loads(done.stdout)


def test_train_prints_one_json_document(run: tuple[Path, dict]) -> None:
    path, printed = run
    assert set(printed) == {"run", "task", "model", "dataset", "epochs", "seconds", "metrics"}
    assert printed["run"] == "runs/digits-lenet5-1"
    assert (printed["model"], printed["dataset"], printed["epochs"]) == ("lenet5", "digits", 2)
    assert printed["metrics"]["test_accuracy"] > 0.2
    assert path.is_dir()


def test_eval_repeats_the_number(run: tuple[Path, dict], capsys: pytest.CaptureFixture) -> None:
    path, printed = run
    with pytest.raises(SystemExit) as ended:
        main(["eval", str(path), "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == printed["metrics"]


def test_predict_in_words_and_json(
    run: tuple[Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from PIL import Image

    Image.new("RGBA", (99, 33), (10, 20, 30, 128)).save(tmp_path / "a.png")
    words = [str(run[0]), str(tmp_path / "a.png"), "--top", "3"]
    with pytest.raises(SystemExit):
        main(["predict", *words])
    assert capsys.readouterr().out.count("%") == 3
    with pytest.raises(SystemExit):
        main(["predict", *words, "--json"])
    (prediction,) = json.loads(capsys.readouterr().out)["predictions"]
    assert len(prediction["labels"]) == 3


@pytest.mark.parametrize("verb", ["models", "datasets", "recipes"])
def test_lists(verb: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--json"])
    assert ended.value.code == 0
    names = {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert names & {"lenet5", "digits"}
    with pytest.raises(SystemExit):
        main([verb])
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "--epoch", "3"], "--epoch"),
        (["train", "--epochs", "three"], "'--epochs': Input should be a valid integer"),
        (["train", "--epochs", "0"], "epochs must be a whole number of at least 1, received 0"),
        (["train", "digit"], "Did you mean digits?"),
        (["train", "--model", "lenet"], "Did you mean lenet5"),
        (["train", "--set", "optimizer.lr"], "--set takes key=value"),
        (["train", "--set", "optimzer.lr=1"], "optimizer.lr"),
        (["eval"], "Missing argument 'RUN... [DATA]'"),
        (["eval", "no/such/run"], "there is no Run at no/such/run"),
        (["predict", "."], "Missing argument 'IMAGE...'"),
        ([], ""),
    ],
)
def test_wrong_words_end_with_status_2_and_one_or_two_lines(
    words: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    if words:
        assert 1 <= len(error.strip().splitlines()) <= 2, error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback() -> None:
    done = call("eval", "no/such/run", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_unwritable_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call("train", "--epochs", "1", "--out", str(tmp_path / "file"))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) <= 2


def test_the_environment_names_the_data_root(tmp_path: Path) -> None:
    from unittest import mock

    with mock.patch.dict(os.environ, {"CONVOLENS_DATA": str(tmp_path), "HOME": str(tmp_path)}):
        done = subprocess.run(
            [sys.executable, "-m", "convolens", "train", "cifar10", "--epochs", "1"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    # Without a network the message names the root, and the status says that it was not the words.
    assert done.returncode in (1, 2)
    assert str(tmp_path) in done.stderr


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convolens", "train", "--epochs", "500"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "runs" / "digits-lenet5-1" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = error.strip().splitlines()
    assert "saved" in lines[-2]
    assert lines[-1] == "Go on with: convolens train --resume runs/digits-lenet5-1"
    assert "Traceback" not in error
