import json
from pathlib import Path
from shlex import split

from convolens.workbench.repeat import repeat
from convolens.workbench.report import report
from convolens.workbench.run import Run
from convolens.workbench.scratch import train_scratch


def test_a_run_of_the_numpy_floor_is_repeated_by_its_own_verb(tmp_path: Path) -> None:
    run = train_scratch("digits", epochs=1, batch=40, seed=3, out=tmp_path, name="first")
    command = repeat(run)
    assert command.text == "convolens scratch train digits --epochs 1 --batch 40 --seed 3"
    assert command.is_exact
    words = split(command.text)
    values = dict(zip(words[4::2], map(int, words[5::2]), strict=True))
    again = train_scratch(
        words[3],
        epochs=values["--epochs"],
        batch=values["--batch"],
        seed=values["--seed"],
        out=tmp_path,
        name="again",
    )
    assert again.config == run.config
    assert again.test["metrics"] == run.test["metrics"]
    page = report(run).read_text(encoding="utf-8")
    assert f"<pre>{command.text}</pre>" in page


def test_the_folder_of_named_pictures_is_said(digits_run: Run) -> None:
    tree = json.loads(digits_run.folder.config_file.read_text())
    assert "trained_by" not in tree.get("found", {})
    assert repeat(digits_run).text.startswith("convolens train digits")
