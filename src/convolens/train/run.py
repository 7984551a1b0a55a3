"""The folder that a training leaves behind: where each file lies, and how it is read."""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convolens.errors import ConvolensError, RunError
from convolens.train.config import Config
from convolens.train.files import make_folder, read_json, remove_leftovers, write_json, write_text
from convolens.train.settings import from_json

FORMAT = 1
PARTS = ("weights", "state", "figures")


@dataclass(frozen=True)
class RunFolder:
    """The files of one Run.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def env_file(self) -> Path:
        return self.path / "env.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def test_file(self) -> Path:
        """The test metrics of the best weights; it is there once the training is complete."""
        return self.path / "test.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def state(self) -> Path:
        return self.path / "state"

    def weights_file(self, which: str) -> Path:
        """Where the weights called "best" or "last" lie."""
        return self.path / "weights" / f"{which}.safetensors"

    def write_metrics(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Writes `metrics.csv`: a header and a row for each epoch."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.metrics_file, text.getvalue())

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`; a cell that is empty is NaN."""
        try:
            text = self.metrics_file.read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(f"{self.metrics_file} cannot be read: {error.strerror}") from error
        try:
            return [
                {name: float(value or "nan") for name, value in row.items()}
                for row in csv.DictReader(io.StringIO(text))
            ]
        except (TypeError, ValueError) as error:
            raise RunError(f"{self.metrics_file} is damaged: {error}") from error

    def write_config(self, config: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Writes `config.json`: what was asked for, and what was found in the data."""
        write_json(self.config_file, {"format": FORMAT, "recipe": config, "found": found})

    def read_config(self) -> tuple[Config, dict[str, Any]]:
        """The configuration, and what was found in the data when the Run began.

        Raises:
            RunError: when this is no Run, or its configuration is damaged or of another format.
        """
        if not self.path.is_dir():
            raise RunError(f"there is no Run at {self.path}")
        if not self.config_file.is_file():
            raise RunError(
                f"{self.path} is not a Run: it has no config.json",
                "A Run is a folder that `convolens train` has written.",
            )
        tree = read_json(self.config_file)
        if not isinstance(tree, dict) or not {"format", "recipe", "found"} <= tree.keys():
            raise RunError(f"{self.config_file} is damaged: it has no format, recipe and found")
        if tree["format"] != FORMAT:
            raise RunError(
                f"{self.config_file} has format {tree['format']!r}, expected {FORMAT}",
                "This Run was written by another version of convolens.",
            )
        if not isinstance(tree["found"], dict):
            raise RunError(f"{self.config_file} is damaged: 'found' is no object")
        try:
            config = from_json(tree["recipe"], str(self.config_file))
        except RunError:
            raise
        except ConvolensError as error:
            raise RunError(f"{self.config_file} is damaged: {error.message}") from error
        return config, tree["found"]

    def repair(self) -> None:
        """Makes the folders that a kill or a copy has left out, and removes half-written files.

        Raises:
            RunError: when a folder cannot be made.
        """
        for part in PARTS:
            make_folder(self.path / part)
        remove_leftovers(self.path)

    def discard(self) -> None:
        """Removes the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def check_run_name(name: str | None) -> None:
    """Raises RunError when a Run's name is not that of a folder."""
    if name is not None and (not name or Path(name).name != name or name in (".", "..")):
        raise RunError(f"--name must be the name of a folder, received {name!r}")


def check_out(out: Path) -> None:
    """Raises RunError when it can be seen beforehand that no Run can be written to OUT."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RunError(f"a Run cannot be written to {out}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"a Run cannot be written to {out}: {there} is not writable")


def create_run_folder(out: Path, name: str | None, stem: str) -> RunFolder:
    """Makes the folder of a new Run: OUT/NAME, or OUT/STEM-1, -2, … where no name is given.

    Raises:
        RunError: when the folder exists or OUT cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = _claim(out, name, stem)
        for part in PARTS:
            (path / part).mkdir()
    except FileExistsError as error:
        if name is not None and (out / name).exists():
            raise RunError(
                f"{out / name} already exists", "Choose another --name, or --resume that Run."
            ) from error
        raise RunError(f"a Run cannot be written to {out}: it is a file") from error
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise RunError(f"a Run cannot be written to {out}: {reason}") from error
    return RunFolder(path)


def _claim(out: Path, name: str | None, stem: str) -> Path:
    """Makes a folder that did not exist; two trainings that begin together get two."""
    if name is not None:
        (out / name).mkdir()
        return out / name
    number = 1
    while (out / f"{stem}-{number}").exists():
        number += 1
    try:
        (out / f"{stem}-{number}").mkdir()
    except FileExistsError:
        return _claim(out, name, stem)
    return out / f"{stem}-{number}"
