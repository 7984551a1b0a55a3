import json
from pathlib import Path

import pytest

from convolens.cli import main


def call(*words: object, capsys: pytest.CaptureFixture) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_train_prints_one_json_document_and_eval_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("scratch", "train", "digits", "--epochs", 2, "--batch", 50, "--seed", 1)
    status, out, err = call(*words, "--json", capsys=capsys)
    assert status == 0
    printed = json.loads(out)
    assert set(printed) == {"run", "task", "model", "dataset", "epochs", "seconds", "metrics"}
    assert printed["run"] == "runs/digits-simple_convnet-1"
    assert (printed["model"], printed["epochs"]) == ("simple_convnet", 2)
    assert printed["metrics"]["test_accuracy"] > 0.85
    assert "epoch 2/2  train loss" in err
    status, out, _ = call("eval", printed["run"], "--json", capsys=capsys)
    assert (status, json.loads(out)["metrics"]) == (0, printed["metrics"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scratch", "trian"], "Did you mean 'train'"),
        (["scratch", "train", "digit"], "Did you mean digits?"),
        (["scratch", "train", "--epochs", "0"], "at least 1, received 0"),
        (["scratch", "train", "--epochs", "x"], "'--epochs': Input should be a valid integer"),
        (["scratch", "train", "--name", "a/b"], "must be the name of a folder"),
        (["scratch"], ""),
    ],
)
def test_wrong_words_end_with_status_2(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = call(*words, capsys=capsys)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
