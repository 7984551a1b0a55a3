"""The folders that the app was given; nothing outside of them is read, shown or removed."""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convolens.data.registry import dataset_names
from convolens.errors import ConfigError, DataError, RunError
from convolens.models.notation import is_notation

DEEPEST = 4  # folders between a given one and a Run


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where the app may look.

    Args:
        runs: folders with Runs in them, or Runs.
        data_root: where named datasets are; None is a cache folder of the user's.
    """

    runs: tuple[Path, ...]
    data_root: Path | None = None

    def __post_init__(self) -> None:
        names = [str(path) for path in self.runs]
        if len(set(names)) < len(names):
            raise ConfigError(f"a folder is given twice: {', '.join(names)}")

    @property
    def out(self) -> Path:
        """Where new Runs go.

        Raises:
            RunError: when no folder was given but Runs.
        """
        for root in self.runs:
            if not (root / "config.json").exists():
                return root
        raise RunError("a new Run has no place here", "Give the app a folder: convolens app runs")

    def holds(self, path: Path) -> bool:
        """Whether a path, with its links followed, lies in a folder that was given."""
        real = Path(os.path.realpath(path))
        given = [*self.runs, *([self.data_root] if self.data_root else [])]
        return any(real.is_relative_to(os.path.realpath(root)) for root in given)

    def names(self) -> list[str]:
        """The Runs in the folders: their paths, beginning with the folder's as it was given."""
        return sorted(str(path) for root in self.runs for path in _runs_below(root, 0))

    def run(self, name: str) -> Path:
        """The folder of a Run.

        Raises:
            RunError: when it lies elsewhere or leads elsewhere.
        """
        path = Path(name)
        is_below = any(path.is_relative_to(root) for root in self.runs)
        if not name or ".." in path.parts or not is_below or not self.holds(path):
            raise RunError(f"{name or 'nothing'} is not in the folders that the app was given")
        if not (path / "config.json").is_file():
            raise RunError(f"there is no Run at {name}")
        self._check_entries(path)
        return path

    def remove(self, name: str) -> None:
        """Removes a Run with all that is in it; links are removed, not what they lead to.

        Raises:
            RunError: when it is no Run of these folders, or the system refuses.
        """
        path = Path(name)
        is_below = any(path.is_relative_to(root) for root in self.runs)
        is_run = (path / "config.json").exists() or path.is_symlink()
        if ".." in path.parts or not is_below or not self.holds(path.parent) or not is_run:
            raise RunError(f"{name} is not a Run in the folders that the app was given")
        try:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
        except OSError as error:
            raise RunError(f"{name} cannot be removed: {error.strerror or error}") from error

    def check_model(self, word: str) -> str:
        """The MODEL word, where the app may build it.

        Raises:
            ConfigError: when it is nothing, a file of Python, or a Run elsewhere.
        """
        word = word.strip()
        if not word:
            raise ConfigError("no network is named", "Choose one, or write: 1x28x28 | fc 10")
        if is_notation(word):
            return word
        file = word.partition("(")[0].rpartition(":")[0]
        if file.endswith(".py"):
            raise ConfigError(
                f"{word}: the app runs no files",
                "The command line does: convolens summary, convolens train --model.",
            )
        if Path(word).is_dir():
            self.run(word)
        return word

    def check_data(self, word: str) -> str:
        """The DATA word, where the app may read it.

        Raises:
            DataError: when it is a path that leads out of the folders.
        """
        word = word.strip()
        if word in dataset_names():
            return word
        if not word or not self.holds(Path(word)):
            raise DataError(
                f"{word or 'nothing'} is no dataset's name, and not in the folders that the app "
                "was given",
                f"Choose {', '.join(dataset_names())}, or give the folder: --data-root.",
            )
        return word

    def _check_entries(self, run: Path) -> None:
        """Raises RunError where a file of a Run is a link that leads out, or no file at all."""
        for folder, below, names in os.walk(run):
            for entry in [Path(folder, name) for name in (*below, *names)]:
                kind = entry.lstat().st_mode
                if stat.S_ISLNK(kind) and not self.holds(entry):
                    raise RunError(f"{entry} is a link that leads out of the folders given")
                if not (stat.S_ISLNK(kind) or stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                    raise RunError(f"{entry} is neither a file nor a folder")


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    """The Runs in a folder; links are not followed, and hidden folders not entered."""
    if (folder / "config.json").is_file():
        yield folder
        return
    if depth > DEEPEST:
        return
    try:
        entries = [Path(e.path) for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]
    except OSError:  # gone, or not ours to read
        return
    for entry in entries:
        if not entry.name.startswith("."):
            yield from _runs_below(entry, depth + 1)
