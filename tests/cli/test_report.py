import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from convolens.cli import main
from convolens.errors import DataError
from convolens.workbench import report as reporting
from convolens.workbench.report import report_at_end


def call(*words: object, capsys: pytest.CaptureFixture) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


@pytest.fixture(autouse=True, scope="module")
def reports() -> Iterator[None]:
    """Trainings write reports here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "report_at_end", report_at_end)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run that the program has left."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--epochs", "1", "--out", str(out), "--name", "first"])
    assert ended.value.code == 0
    return out / "first"


def test_training_ends_with_a_report(trained: Path) -> None:
    assert (trained / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_report_of_a_run(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "report.html").unlink()
    status, out, _ = call("report", run, capsys=capsys)
    assert status == 0
    assert out.startswith(f"{run}/report.html  ")
    status, out, _ = call("report", run, "--out", tmp_path / "x.html", "--json", capsys=capsys)
    assert json.loads(out) == {
        "run": str(run),
        "report": str(tmp_path / "x.html"),
        "bytes": (tmp_path / "x.html").stat().st_size,
    }


def test_what_is_no_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    status, out, error = call("report", tmp_path, capsys=capsys)
    assert (status, out) == (2, "")
    assert error.startswith(f"convolens: {tmp_path} is not a Run: it has no config.json")


def test_no_report_when_none_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["train", "--epochs", 1, "--out", tmp_path, "--name", "bare", "--no-report"]
    status, _, error = call(*words, capsys=capsys)
    assert status == 0
    assert "The report is" not in error
    assert not (tmp_path / "bare" / "report.html").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("the pictures are gone", "Bring them back."), "the pictures are gone Bring"),
        (ValueError("a bug\nof two lines"), "ValueError: a bug of two lines"),
    ],
)
def test_a_report_that_fails_costs_one_line_and_no_training(
    error: Exception,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(reporting, "report", fail)
    words = ["train", "--epochs", 1, "--out", tmp_path, "--name", "run", "--json"]
    status, out, said = call(*words, capsys=capsys)
    assert status == 0
    assert json.loads(out)["run"] == str(tmp_path / "run")
    lines = [line for line in said.splitlines() if "the report could not be written" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"the report could not be written: {message}")
