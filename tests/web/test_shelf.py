import json
import os
import shutil
from pathlib import Path

import pytest

from convolens.web.charts import chart_of, points_of, quantities_of
from convolens.web.folders import Folders
from convolens.web.shelf import Entry, Shelf
from convolens.workbench.run import Run


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "first", tmp_path / "first")
    return tmp_path


def only(root: Path) -> Entry:
    (entry,) = Shelf(Folders(runs=(root,))).entries()
    return entry


def test_a_run_as_the_table_shows_it(root: Path) -> None:
    run, entry = Run.open(root / "first"), only(root)
    assert (entry.name, entry.state) == (str(root / "first"), "complete")
    assert (entry.data, entry.model, entry.wanted) == ("digits", "lenet5", 1)
    assert [dict(row) for row in entry.epochs] == run.rows
    assert entry.tested == ("accuracy", run.test["metrics"]["accuracy"])
    assert entry.best == ("accuracy", run.rows[0]["val_accuracy"])
    assert entry.seconds == run.test["seconds"]
    assert not entry.report


def test_a_run_that_grows_is_read_again(root: Path) -> None:
    shelf = Shelf(Folders(runs=(root,)))
    before = shelf.entries()
    assert shelf.entries()[0] is before[0]  # nothing changed, so that nothing was read
    (root / "first/test.json").unlink()
    file = root / "first/metrics.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    os.utime(file, ns=(1, 2**61))
    (after,) = shelf.entries()
    assert (after.state, len(after.epochs), after.test) == ("not complete", 2, {})
    shutil.rmtree(root / "first")
    assert shelf.entries() == []


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", json.dumps({"format": 1, "recipe": {}, "found": {}}), "is not a complete"),
        ("metrics.csv", "epoch,val_loss\n1,abc\n", "metrics.csv is damaged"),
        ("test.json", "[]", "test.json is damaged"),
        ("test.json", '{"metrics": {}, "seconds": "long"}', ""),
    ],
)
def test_a_damaged_run_says_why(root: Path, file: str, content: str, why: str) -> None:
    (root / "first" / file).write_text(content)
    entry = only(root)
    assert why in entry.why
    assert (entry.state == "damaged") == bool(why)


def test_a_run_never_shows_a_file_from_elsewhere(root: Path, tmp_path: Path) -> None:
    inner = tmp_path / "runs"
    inner.mkdir()
    shutil.move(root / "first", inner / "first")
    (tmp_path / "secret").write_text("password\n1,hunter2\n")
    (inner / "first/metrics.csv").unlink()
    (inner / "first/metrics.csv").symlink_to(tmp_path / "secret")
    entry = only(inner)
    assert entry.state == "damaged"
    assert "hunter2" not in entry.why
    assert entry.why.endswith("metrics.csv is a link that leads out of the folders given")


def test_the_last_changed_comes_first(root: Path) -> None:
    shutil.copytree(root / "first", root / "second")
    for name, when in (("first", 2**61), ("second", 2**60)):
        os.utime(root / name / "metrics.csv", ns=(when, when))
    names = [Path(entry.name).name for entry in Shelf(Folders(runs=(root,))).entries()]
    assert names == ["first", "second"]


def test_a_chart_has_the_numbers_of_metrics_csv(root: Path) -> None:
    entry = only(root)
    assert quantities_of([entry])[:2] == ["loss", "accuracy"]
    chart = chart_of([entry], "accuracy")
    assert {s["name"]: s["data"] for s in chart["series"]} == {
        f"first, {words}": [[1.0, entry.epochs[0][f"{split}_accuracy"]]]
        for split, words in (("train", "training"), ("val", "validation"))
    }


def test_what_is_not_finite_leaves_a_gap() -> None:
    rows = [{"epoch": 1.0, "a": float("inf")}, {"epoch": 2.0}, {"epoch": 3.0, "a": 1.0}]
    assert points_of(rows, "a") == [[1.0, None], [3.0, 1.0]]


def test_best_is_least_for_a_loss_and_greatest_for_an_accuracy() -> None:
    rows = ({"val_loss": 3.0}, {"val_loss": 1.0}, {"val_loss": 2.0}, {"val_loss": float("nan")})
    assert Entry(name="a", state="complete", epochs=rows).best == ("loss", 1.0)
    rows = ({"val_loss": 1.0, "val_miou": 0.2}, {"val_loss": 0.5, "val_miou": 0.1})
    assert Entry(name="a", state="complete", epochs=rows).best == ("miou", 0.2)
    assert Entry(name="a", state="complete").best is None
