"""The Runs of the folders in a table, read again only when their files change."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convolens.errors import ConvolensError
from convolens.web.folders import Folders
from convolens.workbench.run import Run

Epoch = Mapping[str, float]
# Of several metrics of the validation, this is the one that a Run is known by.
_CHIEF = ("miou", "map", "accuracy", "loss")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A Run as the table shows it.

    Args:
        name: its path, as `Folders.names` gives it.
        state: "complete", "not complete" or "damaged".
        data, model: what it is of.
        wanted: epochs that it was to have.
        epochs: the rows of `metrics.csv`.
        test: the test metrics.
        seconds: of training; None until it is complete.
        changed: when a file of it last changed [s since 1970].
        report: whether it has a `report.html`.
        why: what is wrong with it.
    """

    name: str
    state: str
    data: str = ""
    model: str = ""
    wanted: int = 0
    epochs: tuple[Epoch, ...] = ()
    test: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    changed: float = 0.0
    report: bool = False
    why: str = ""

    @property
    def best(self) -> tuple[str, float] | None:
        """Name and value of the best validation metric, where there is one."""
        for metric in _CHIEF:
            values = [row[f"val_{metric}"] for row in self.epochs if f"val_{metric}" in row]
            values = [value for value in values if math.isfinite(value)]
            if values:
                return metric, min(values) if metric == "loss" else max(values)
        return None

    @property
    def tested(self) -> tuple[str, float] | None:
        """Name and value of the test metric that the Run is known by."""
        return next(((m, self.test[m]) for m in _CHIEF if m in self.test), None)


class Shelf:
    """What stands in the folders, looked at again and again.

    Args:
        folders: where.
    """

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._known: dict[str, tuple[tuple[int, ...], Entry]] = {}

    def entries(self) -> list[Entry]:
        """All Runs, those that changed last at first; a damaged one says why."""
        known: dict[str, tuple[tuple[int, ...], Entry]] = {}
        for name in self._folders.names():
            stamp = _stamp(Path(name))
            before = self._known.get(name)
            same = before is not None and before[0] == stamp
            known[name] = before if before and same else (stamp, self._read(name, stamp))
        self._known = known
        return sorted((entry for _, entry in known.values()), key=lambda e: -e.changed)

    def _read(self, name: str, stamp: tuple[int, ...]) -> Entry:
        changed = max(stamp) / 1e9
        try:
            run = Run.open(self._folders.run(name))
            epochs = run.rows if run.folder.metrics_file.exists() else []
            test = run.test if run.is_complete else {"metrics": {}, "seconds": None}
            numbers = {k: float(v) for k, v in test["metrics"].items() if _is_number(v)}
            return Entry(
                name=name,
                state="complete" if run.is_complete else "not complete",
                data=str(run.facts["dataset"]),
                model=run.config.model.name,
                wanted=run.config.epochs,
                epochs=tuple(epochs),
                test=numbers,
                seconds=float(test["seconds"]) if _is_number(test.get("seconds")) else None,
                changed=changed,
                report=(run.path / "report.html").is_file(),
            )
        except ConvolensError as error:
            why = error.message
        except (OSError, ValueError, TypeError, KeyError) as error:  # whatever a file may hold
            why = f"{type(error).__name__}: {error}"
        return Entry(name=name, state="damaged", changed=changed, why=why)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stamp(run: Path) -> tuple[int, ...]:
    """When the files that the table shows last changed [ns]; 0 for one that is not there."""
    files = ("config.json", "metrics.csv", "test.json", "report.html")
    stamps = []
    for file in files:
        try:
            stamps.append(os.lstat(run / file).st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)
